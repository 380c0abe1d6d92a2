// A browser opens six connections to one server over HTTP/1.1. Two send and one carries the figures,
// so the jobs share two streams. What was accepted first is done first, so the oldest are followed;
// of the others one is asked after at a time, in turn.

const STREAMS = 2;
const GLANCE_MS = 1000;
const EVENTS = ["queued", "processing", "variant", "done", "failed", "cancelled"];

export class Watcher {
  #waiting = [];
  #open = new Map();
  #turn = 0;

  constructor() {
    setInterval(() => this.#glance(), GLANCE_MS);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#fill()));
  }

  watch(photo) {
    if (photo.settled || photo.dropped) return;
    this.#waiting.push(photo);
    this.#fill();
  }

  drop(photo) {
    this.#waiting = this.#waiting.filter((other) => other !== photo);
    this.#close(photo);
    this.#fill();
  }

  // Asks once; for a photo of an earlier visit, or when a stream ended without a last word.
  async look(photo) {
    if (!(await this.#ask(photo))) setTimeout(() => this.watch(photo), 2000);
  }

  // Whether there is nothing more to hear of it.
  async #ask(photo) {
    try {
      const answer = await fetch(`/v1/images/${photo.id}`, { cache: "no-store" });
      if (answer.status === 404) photo.set({ state: "expired" });
      else if (answer.ok) photo.follow(await answer.json());
    } catch {
      // The server is away; the next time finds it again.
    }
    return photo.settled;
  }

  async #glance() {
    if (document.hidden || !this.#waiting.length) return;
    this.#turn = (this.#turn + 1) % this.#waiting.length;
    const photo = this.#waiting[this.#turn];
    if (await this.#ask(photo)) this.#waiting = this.#waiting.filter((other) => other !== photo);
  }

  #fill() {
    while (!document.hidden && this.#open.size < STREAMS && this.#waiting.length) this.#follow(this.#waiting.shift());
  }

  #follow(photo) {
    const source = new EventSource(photo.job?.links?.events ?? `/v1/images/${photo.id}/events`);
    this.#open.set(photo, source);
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#hear(photo, JSON.parse(event.data)));
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      this.#close(photo);
      this.look(photo);
      this.#fill();
    };
  }

  #hear(photo, job) {
    photo.follow(job);
    const later = photo.state === "done" && !photo.settled && this.#waiting.length;
    if (!photo.settled && !later) return;
    this.#close(photo);
    if (later) this.#waiting.push(photo);
    this.#fill();
  }

  #close(photo) {
    this.#open.get(photo)?.close();
    this.#open.delete(photo);
  }

  #pause() {
    this.#waiting.unshift(...this.#open.keys());
    for (const photo of this.#open.keys()) this.#close(photo);
  }
}
