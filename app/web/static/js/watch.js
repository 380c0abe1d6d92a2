import { at } from "./address.js";

// Follows the uploaded photos to their end, with at most one event stream and one question at a time, however many
// photos there are. The stream follows the oldest photo that has not ended; the others are looked up in rotation.
// Streams and questions start at this pace (in ms), which becomes slower while only sizes put off are awaited, and
// while the server does not answer.

const PACE = { busy: 1000, quiet: 2000, away: 3000 };
// States that a photo reaches by moving up; one that was cancelled or expired has left the queue from where it was.
const IN_TURN = new Set(["queued", "processing", "done", "failed"]);
const EVENTS = ["queued", "processing", "variant", "done", "failed", "cancelled"];

export class Watcher {
  #photos = new Set();
  #followed = null;
  #source = null;
  #timer = 0;
  #startedAt = -Infinity;
  #asking = false;
  #away = false;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#unfollow();
      else this.#schedule();
    });
  }

  watch(photo) {
    if (photo.dropped || (photo.settled && !photo.remembered)) return;
    this.#photos.add(photo);
    this.#schedule();
  }

  drop(photo) {
    this.#photos.delete(photo);
    if (photo === this.#followed) this.#unfollow();
  }

  #schedule() {
    if (document.hidden || this.#asking || !this.#photos.size) return;
    const busy = [...this.#photos].some((photo) => !photo.ended);
    const pace = this.#away ? PACE.away : busy ? PACE.busy : PACE.quiet;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#next(), Math.max(0, this.#startedAt + pace - performance.now()));
  }

  async #next() {
    if (document.hidden) return;
    const photos = [...this.#photos].filter((photo) => photo !== this.#followed);
    const first = photos.find((photo) => !photo.ended) ?? photos.find((photo) => !photo.settled);
    this.#startedAt = performance.now();
    if (first?.job && !this.#source && !this.#away) this.#follow(first);
    else if (photos.length) await this.#ask(photos.find((photo) => !photo.ended) ?? photos[0]);
    this.#schedule();
  }

  async #ask(photo) {
    this.#asking = true;
    try {
      const answer = await fetch(at(`v1/images/${photo.id}`), { cache: "no-store" });
      this.#away = false;
      if (answer.status === 404) photo.set({ state: "expired" });
      else if (answer.ok) this.#tell(photo, await answer.json());
      if (answer.ok) photo.remembered = false;
    } catch {
      this.#away = true;
    }
    this.#asking = false;
    this.#photos.delete(photo);
    this.watch(photo);
  }

  #follow(photo) {
    this.#followed = photo;
    this.#source = new EventSource(at(`v1/images/${photo.id}/events`));
    for (const name of EVENTS) this.#source.addEventListener(name, (event) => this.#update(photo, JSON.parse(event.data)));
    this.#source.onerror = () => {
      // A stream that broke off is followed by a question, which also finds out whether the photo is still there.
      this.#unfollow();
      this.#away = true;
      this.#schedule();
    };
  }

  #update(photo, job) {
    photo.remembered = false;
    this.#tell(photo, job);
    if (photo.settled) this.drop(photo);
    // While sizes put off are awaited the stream is kept, unless another photo has not even its first size.
    else if (photo.ended && [...this.#photos].some((other) => !other.ended)) {
      this.drop(photo);
      this.watch(photo);
    } else return;
    this.#schedule();
  }

  // The places of all others move with the one that was told, so that they change together. By how much each of them
  // moves depends on whose photos stand between: so they are only about right, until each is told in turn.
  #tell(photo, job) {
    const before = photo.place;
    photo.update(job);
    const places = before - (photo.place ?? 0);
    if (!places || !IN_TURN.has(photo.state)) return;
    for (const other of this.#photos) if (other !== photo) other.moveUp(places);
  }

  #unfollow() {
    this.#source?.close();
    this.#source = this.#followed = null;
  }
}
