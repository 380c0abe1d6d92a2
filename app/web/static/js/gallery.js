import { After } from "./after.js";
import { Bar } from "./bar.js";
import { problemOf } from "./check.js";
import { remove } from "./client.js";
import { details } from "./details.js";
import { write } from "./format.js";
import { Photo } from "./photo.js";
import { Rows } from "./rows.js";
import * as store from "./store.js";
import { summary } from "./summary.js";
import { Tiles } from "./tiles.js";
import { undoable } from "./undo.js";

const DRAW_MS = 200;
const PAGE = 300;
// States that show a countdown, so that they change without an event.
const TICKING = new Set(["refused", "degraded", "token", "queued"]);

// All photos: those on their way as rows, those that are done as a grid. What is remembered of earlier visits comes back
// a page at a time.
export class Gallery {
  #photos = new Set();
  #visit = new Set();
  #dirty = true;
  #oldest = Infinity;
  #expired = 0;

  constructor(sender, watcher) {
    this.sender = sender;
    this.watcher = watcher;
    this.rows = new Rows(document.getElementById("photos"), { remove: (photo) => this.#remove(photo), retry: (photo) => this.#send(photo) });
    this.tiles = new Tiles(document.getElementById("grid"), details({ remove: (photo) => this.#remove(photo), beside: (photo, step) => this.tiles.beside(photo, step) }));
    this.after = new After(() => this.tiles.photos, () => this.#removeAll());
    this.bar = new Bar(sender, () => this.#cancel());
    this.older = document.getElementById("older");
    this.older.addEventListener("click", () => this.#showOlder());
    sender.addEventListener("accepted", ({ detail: photo }) => {
      store.remember(photo);
      watcher.watch(photo);
    });
    setInterval(() => this.#draw(), DRAW_MS);
    // A reload keeps what was accepted, and what is still to be sent where the browser could keep the files.
    addEventListener("beforeunload", (event) => this.#unsent().some((photo) => photo.kept === false) && event.preventDefault());
  }

  async add(files) {
    for (const file of files) {
      const photo = new Photo(file.name || "pasted photo", { file });
      this.#take(photo);
      this.#check(photo);
    }
    this.#draw();
    document.getElementById("bar").scrollIntoView({ block: "nearest" });
  }

  // What this browser remembers: what it has still to send goes on, what is done is shown without a question.
  async restore() {
    await this.#showOlder();
    for (const { file, options } of await this.sender.unsent()) {
      const photo = new Photo(options.name, { key: options.key, order: options.order, file, options });
      this.#take(photo);
      this.sender.add(photo);
    }
    this.#draw();
  }

  async #showOlder() {
    const entries = await store.page(this.#oldest, PAGE);
    this.#oldest = entries.at(-1)?.order ?? this.#oldest;
    this.older.hidden = entries.length < PAGE;
    for (const { job, ...entry } of entries) {
      const known = job ? { job, state: job.status, problem: job.problem } : { state: "restoring" };
      const photo = new Photo(entry.name ?? entry.id, { ...entry, ...known, remembered: true });
      this.#watch(photo);
      if (Date.parse(job?.expires_at) < Date.now()) photo.set({ state: "expired" });
      // What can change no more, and says when it expires, needs no question.
      else if (!photo.settled || !job.expires_at) this.watcher.watch(photo);
    }
    this.#draw();
  }

  #take(photo) {
    if ([...this.#visit].every((other) => other.ended)) this.#visit.clear();
    this.#visit.add(photo);
    this.#watch(photo);
  }

  #watch(photo) {
    this.#photos.add(photo);
    photo.addEventListener("change", () => {
      this.#dirty = true;
      if (photo.state === "expired") this.#drop(photo, 1);
      else if (photo.id && photo.ended) store.remember(photo);
    });
    this.#dirty = true;
  }

  async #check(photo) {
    const problem = await problemOf(photo.file);
    if (photo.dropped) return;
    if (problem) photo.set({ state: "failed", problem, file: null });
    else this.sender.add(photo);
  }

  #send(photo) {
    photo.set({ state: "waiting", problem: null, refusal: null, until: 0 });
    this.sender.add(photo);
  }

  #draw() {
    if (document.hidden) return;
    const photos = [...this.#photos];
    if (!this.#dirty && !photos.some((photo) => TICKING.has(photo.state)) && document.getElementById("bar").hidden) return;
    this.#dirty = false;
    for (const photo of photos) if (photo.shown && !this.tiles.has(photo)) this.tiles.add(photo);
    this.rows.show(photos.filter((photo) => !photo.shown));
    this.bar.show([...this.#visit]);
    this.after.show();
    summary(photos, this.#expired);
  }

  // A photo that is done can be taken back for some seconds; any other is gone at once.
  #remove(photo) {
    if (!photo.shown) return this.#removeNow(photo);
    this.#hide([photo]);
    return undoable(`${photo.name} removed.`, () => this.#removeNow(photo), () => this.#unhide([photo]));
  }

  #removeAll() {
    const photos = this.tiles.photos;
    this.#hide(photos);
    const act = () => photos.forEach((photo) => this.#removeNow(photo));
    undoable(photos.length === 1 ? "One photo removed." : `${photos.length} photos removed.`, act, () => this.#unhide(photos));
  }

  #hide(photos) {
    for (const photo of photos) {
      this.tiles.remove(photo);
      this.#photos.delete(photo);
      this.watcher.drop(photo);
    }
    this.#dirty = true;
    this.#draw();
  }

  #unhide(photos) {
    for (const photo of photos) {
      this.#photos.add(photo);
      this.watcher.watch(photo);
    }
    this.#dirty = true;
    this.#draw();
  }

  async #removeNow(photo) {
    this.sender.drop(photo);
    if (photo.id && photo.token && photo.state !== "expired" && !(await deleted(photo))) {
      this.#photos.add(photo);
      return photo.set({ state: "failed", problem: { title: "Could not be removed just now", detail: "Try once more." } });
    }
    return this.#drop(photo);
  }

  #drop(photo, expired = 0) {
    this.watcher.drop(photo);
    if (photo.id) store.forget(photo.id);
    this.tiles.remove(photo);
    this.#photos.delete(photo);
    this.#visit.delete(photo);
    this.#expired += expired;
    this.#dirty = true;
    this.#draw();
  }

  #unsent() {
    return [...this.#photos].filter((photo) => !photo.id && !photo.ended);
  }

  #cancel() {
    for (const photo of this.#unsent()) this.#removeNow(photo);
    write(document.getElementById("summary"), "Cancelled what was not sent yet.");
  }
}

async function deleted({ id, token }) {
  try {
    await remove({ id, delete_token: token });
    return true;
  } catch {
    return false;
  }
}
