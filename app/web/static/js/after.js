import { albumLink } from "./album.js";
import { best, linkOf, nameOf } from "./cascade.js";
import { copies } from "./copying.js";
import { write } from "./format.js";
import { distinct, zip } from "./zip.js";

// What can be done with all photos of the grid at once.

const box = document.getElementById("after");
const part = (name) => box.querySelector(name);

export class After {
  #photos = () => [];

  constructor(photos, removeAll) {
    this.#photos = photos;
    copies(part(".links"), () => photos().map(linkOf).join("\n"));
    copies(part(".album"), () => albumLink(photos().map(({ id }) => id)));
    part(".download").addEventListener("click", () => this.#download());
    part(".remove").addEventListener("click", removeAll);
  }

  show() {
    const count = this.#photos().length;
    box.hidden = !count;
    write(part("h2"), count === 1 ? "One photo" : `${count} photos`);
  }

  async #download() {
    const button = part(".download");
    const label = button.textContent;
    const photos = this.#photos();
    button.disabled = true;
    try {
      await save(zip(fetched(photos, (count) => write(button, `Packing ${count} of ${photos.length}`))));
    } catch (error) {
      if (error.name !== "AbortError") write(part(".note"), `Could not be downloaded: ${error.message}.`);
    }
    button.disabled = false;
    write(button, label);
  }
}

async function* fetched(photos, tell) {
  const name = distinct();
  for (const [index, photo] of photos.entries()) {
    tell(index + 1);
    const answer = await fetch(best(photo, Infinity));
    if (!answer.ok) throw new Error(`${photo.name} is there no longer`);
    yield { name: name(photo.name, nameOf(photo).split(".").pop()), bytes: new Uint8Array(await answer.arrayBuffer()) };
  }
}

// To the disk as it is made, where the browser can; else it is gathered first.
async function save(pieces) {
  if (globalThis.showSaveFilePicker) {
    const handle = await globalThis.showSaveFilePicker({ suggestedName: "photos.zip", types: [{ accept: { "application/zip": [".zip"] } }] });
    const file = await handle.createWritable();
    for await (const piece of pieces) await file.write(piece);
    return file.close();
  }
  const gathered = [];
  for await (const piece of pieces) gathered.push(piece);
  const url = URL.createObjectURL(new Blob(gathered, { type: "application/zip" }));
  Object.assign(document.createElement("a"), { href: url, download: "photos.zip" }).click();
  return setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
