import { write } from "./format.js";
import { statusOf } from "./photo-status.js";

const template = document.getElementById("photo");

// The list item of a photo that is not done yet: what happens to it, and what can be done about it.
export function row(photo, { remove, retry }) {
  const item = template.content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(name);
  const image = part(".frame img");
  const progress = part("progress");
  let blob = null;

  part(".name").textContent = photo.name;
  part(".frame").dataset.kind = (photo.name.match(/\.(\w{1,4})$/)?.[1] ?? "photo").toUpperCase();
  part(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
  part(".retry").setAttribute("aria-label", `Send ${photo.name} again`);
  progress.setAttribute("aria-label", `Sending ${photo.name}`);
  part(".remove").addEventListener("click", () => remove(photo));
  part(".retry").addEventListener("click", () => retry(photo));
  // What the browser cannot draw, such as HEIC in most of them, has the name of its format instead.
  image.addEventListener("load", () => (image.hidden = false));
  image.addEventListener("error", () => (image.hidden = true));
  if (photo.file) image.src = blob = URL.createObjectURL(photo.file);

  function state() {
    const { text, link } = statusOf(photo);
    const line = part(".state");
    if (!link) return write(line, text);
    if (!line.firstElementChild) line.replaceChildren("", " ", Object.assign(document.createElement("a"), { textContent: "Why?", target: "_blank", rel: "noopener" }));
    line.firstElementChild.setAttribute("href", link);
    const sentence = text.endsWith(".") ? text : `${text}.`;
    if (line.firstChild.data !== sentence) line.firstChild.data = sentence;
  }

  function draw() {
    if (item.className !== `photo ${photo.state}`) item.className = `photo ${photo.state}`;
    state();
    progress.hidden = photo.state !== "sending";
    if (!progress.hidden && photo.progress < 1) progress.value = photo.progress;
    else if (!progress.hidden) progress.removeAttribute("value");
    part(".retry").hidden = !(photo.state === "failed" && photo.file);
    if (photo.refusal?.preview && image.src !== photo.refusal.preview.url) image.src = photo.refusal.preview.url;
  }

  function close() {
    if (blob) URL.revokeObjectURL(blob);
    item.remove();
  }

  draw();
  return { item, draw, close };
}
