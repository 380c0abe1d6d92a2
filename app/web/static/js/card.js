import { showVariants, srcset } from "./cascade.js";
import { copies } from "./copying.js";
import { write } from "./format.js";
import { statusOf } from "./photo-status.js";

const template = document.getElementById("photo");
const DRAWABLE = /^image\/(jpeg|png|webp|gif|avif)$/;

// The list item of one photo.
export function card(photo, remove) {
  const item = template.content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(name);
  const image = part(".frame img");
  const progress = part("progress");
  let blob = null;

  part(".name").textContent = photo.name;
  part(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
  part(".srcset").setAttribute("aria-label", `Copy srcset of ${photo.name}`);
  progress.setAttribute("aria-label", `Sending ${photo.name}`);
  part(".remove").addEventListener("click", remove);
  copies(part(".srcset"), () => srcset(photo));
  image.addEventListener("error", () => (image.hidden = true));
  if (photo.file && DRAWABLE.test(photo.file.type)) {
    blob = URL.createObjectURL(photo.file);
    picture(blob);
  }

  function picture(url) {
    image.src = url;
    image.hidden = false;
  }

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
    item.className = `photo ${photo.state}`;
    state();
    progress.hidden = photo.state !== "sending";
    if (!progress.hidden && photo.progress < 1) progress.value = photo.progress;
    else if (!progress.hidden) progress.removeAttribute("value");
    part(".srcset").hidden = photo.state !== "done";
    if (photo.refusal?.preview) picture(photo.refusal.preview.url);
    if (!photo.job?.variants) return;
    showVariants(part(".cascade"), photo);
    if (photo.state === "done" && blob) URL.revokeObjectURL(blob);
  }

  photo.addEventListener("change", draw);
  draw();
  return { item, draw };
}
