import { at } from "./address.js";
import { card } from "./card.js";
import { Photo } from "./photo.js";
import { summary } from "./summary.js";
import * as uploads from "./uploads.js";

// States that show a countdown.
const TICKING = new Set(["refused", "degraded", "token"]);

// The list of photos: those of this visit, and those of earlier visits that this browser remembers.
export class Gallery {
  #cards = new Map();

  constructor(list, sender, watcher) {
    this.list = list;
    this.sender = sender;
    this.watcher = watcher;
    sender.addEventListener("accepted", ({ detail: photo }) => {
      uploads.remember(photo);
      watcher.watch(photo);
    });
    setInterval(() => this.#tick(), 200);
    // A reload keeps accepted photos; those not sent yet exist in this page only.
    addEventListener("beforeunload", (event) => this.#unsent() && event.preventDefault());
  }

  add(files) {
    const older = this.list.firstElementChild;
    for (const file of files) {
      const photo = new Photo(file.name || "pasted photo", { file });
      this.#show(photo, older);
      this.sender.add(photo);
    }
    this.list.firstElementChild?.scrollIntoView({ block: "nearest" });
  }

  // What is remembered of a photo is shown at once, and looked up when its turn comes.
  restore() {
    const photos = uploads.entries().map(restored);
    for (const photo of photos) this.#show(photo, null);
    for (const photo of photos) this.watcher.watch(photo);
  }

  #show(photo, before) {
    const made = card(photo, () => this.#remove(photo));
    this.#cards.set(photo, made);
    this.list.insertBefore(made.item, before);
    photo.addEventListener("change", () => {
      uploads.update(photo);
      this.#summarize();
    });
    this.#summarize();
  }

  async #remove(photo) {
    this.sender.drop(photo);
    if (photo.id && photo.token && photo.state !== "expired" && !(await deleted(photo))) {
      return photo.set({ state: "failed", problem: { title: "Could not be removed just now", detail: "Try once more." } });
    }
    this.watcher.drop(photo);
    if (photo.id) uploads.forget(photo.id);
    const { item } = this.#cards.get(photo);
    (item.nextElementSibling ?? item.previousElementSibling ?? document.getElementById("main")).focus();
    item.remove();
    this.#cards.delete(photo);
    this.#summarize();
  }

  #unsent() {
    return [...this.#cards.keys()].some((photo) => !photo.id && photo.state !== "failed");
  }

  #summarize() {
    summary([...this.#cards.keys()]);
  }

  #tick() {
    if (document.hidden) return;
    for (const [photo, { draw }] of this.#cards) if (TICKING.has(photo.state)) draw();
  }
}

function restored({ id, token, name, job }) {
  const known = job ? { job, state: job.status, problem: job.problem } : { state: "restoring" };
  return new Photo(name ?? id, { id, token, remembered: true, ...known });
}

async function deleted(photo) {
  try {
    const answer = await fetch(at(`v1/images/${photo.id}`), {
      method: "DELETE",
      headers: { Authorization: `Bearer ${photo.token}` },
    });
    return answer.ok || answer.status === 404;
  } catch {
    return false;
  }
}
