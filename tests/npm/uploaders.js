// The uploaders that front ends use most, each as its own documentation sets it up, behind one function:
// it uploads a file to an endpoint and tells the status and the body of the answer that the uploader got.
import Uppy from "@uppy/core";
import XHRUpload from "@uppy/xhr-upload";
import Dropzone from "dropzone";
import * as FilePond from "filepond";

const answered = (request) => ({ status: request.status, body: JSON.parse(request.responseText || "null") });

window.uploaders = {
  uppy: (endpoint, file) =>
    new Promise((resolve) => {
      const uppy = new Uppy().use(XHRUpload, { endpoint });
      uppy.on("upload-success", (_, response) => resolve({ status: response.status, body: response.body }));
      uppy.on("upload-error", (_, error, response) => resolve(answered(error.request ?? response)));
      uppy.addFile({ name: file.name, type: file.type, data: file });
      uppy.upload();
    }),

  dropzone: (endpoint, file) =>
    new Promise((resolve) => {
      const dropzone = new Dropzone(document.createElement("form"), { url: endpoint, maxFilesize: null });
      dropzone.on("success", (sent) => resolve(answered(sent.xhr)));
      dropzone.on("error", (sent) => resolve(answered(sent.xhr)));
      dropzone.addFile(file);
    }),

  filepond: (endpoint, file) =>
    new Promise((resolve) => {
      const told = { status: 0, body: null };
      const process = {
        url: endpoint,
        onload: (text) => {
          told.body = JSON.parse(text);
          return told.body.id;
        },
        onerror: (text) => (told.body = JSON.parse(text)),
      };
      const pond = FilePond.create({ server: { process }, instantUpload: true });
      pond.onprocessfile = (error) => resolve({ ...told, status: error ? error.code : 202 });
      pond.addFile(file);
    }),
};
