// The recipes of docs/front-end.md, which the test has written beside this file, each with twenty photos and a list of what
// arrived: the ids that the uploader itself took over.
import "./uppy.js";
import "./dropzone.js";
import "./filepond.js";
import "./script.js";

const arrived = (window.arrived = { uppy: [], dropzone: [], filepond: [], script: [] });
const { uppy, dropzone, pond, publish } = window.recipes;
uppy.on("upload-success", (_, { body }) => arrived.uppy.push(body.id));
dropzone.on("success", (file) => arrived.dropzone.push(JSON.parse(file.xhr.responseText).id));
pond.on("processfile", (error, file) => error || arrived.filepond.push(file.serverId));

window.sendAll = (packed) => {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const files = Array.from({ length: 20 }, (_, n) => new File([bytes, new Uint8Array(n)], `${n}.jpg`, { type: "image/jpeg", lastModified: n }));
  uppy.addFiles(files.map((data) => ({ name: data.name, type: data.type, data })));
  for (const file of files) dropzone.addFile(file);
  pond.addFiles(files);
  const line = document.createElement("p");
  for (const file of files) publish(file, {}, line).then((url) => arrived.script.push(url.split("/").at(-2)));
};
