import { best, nameOf, showVariants, srcset } from "./cascade.js";
import { copies } from "./copying.js";
import { write } from "./format.js";
import { statusOf } from "./photo-status.js";

// One photo that is done, in a dialog: its sizes, their links, and what can be done with it.

const dialog = document.getElementById("details");
const part = (name) => dialog.querySelector(name);
let photo = null;

function draw() {
  part("h2").textContent = photo.name;
  write(part(".state"), statusOf(photo).text);
  const list = part(".cascade");
  if (list.photo !== photo) list.replaceChildren();
  list.photo = photo;
  showVariants(list, photo);
  Object.assign(part(".download"), { href: best(photo, Infinity), download: nameOf(photo) });
}

// `remove` takes the photo away; `beside` gives the one before or after it.
export function details({ remove, beside }) {
  const show = (other) => {
    if (!other) return;
    photo?.removeEventListener("change", draw);
    photo = other;
    photo.addEventListener("change", draw);
    draw();
    if (!dialog.open) dialog.showModal();
  };
  copies(part(".srcset"), () => srcset(photo));
  part(".close").addEventListener("click", () => dialog.close());
  part(".remove").addEventListener("click", () => {
    const gone = photo;
    dialog.close();
    remove(gone);
  });
  dialog.addEventListener("close", () => photo?.removeEventListener("change", draw));
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  dialog.addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") show(beside(photo, -1));
    if (key === "ArrowRight") show(beside(photo, 1));
  });
  return show;
}
