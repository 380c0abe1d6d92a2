// Over HTTP/1.1 a browser opens six connections to a server. Two send photos and one carries the statistics, so
// two event streams are left for jobs. They follow the oldest jobs, which end first; the others are polled, one
// each second.

const MAX_STREAMS = 2;
const POLL_MS = 1000;
const EVENTS = ["queued", "processing", "variant", "done", "failed", "cancelled"];

export class Watcher {
  #waiting = [];
  #open = new Map();
  #next = 0;

  constructor() {
    setInterval(() => this.#poll(), POLL_MS);
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

  // Asks once: for a photo of an earlier visit, or when a stream broke off.
  async lookUp(photo) {
    if (!(await this.#ask(photo))) setTimeout(() => this.watch(photo), 2000);
  }

  // Resolves to whether the job has ended for good.
  async #ask(photo) {
    try {
      const answer = await fetch(`/v1/images/${photo.id}`, { cache: "no-store" });
      if (answer.status === 404) photo.set({ state: "expired" });
      else if (answer.ok) photo.update(await answer.json());
    } catch {
      // The server is away; the next request may find it again.
    }
    return photo.settled;
  }

  async #poll() {
    if (document.hidden || !this.#waiting.length) return;
    this.#next = (this.#next + 1) % this.#waiting.length;
    const photo = this.#waiting[this.#next];
    if (await this.#ask(photo)) this.#waiting = this.#waiting.filter((other) => other !== photo);
  }

  #fill() {
    while (!document.hidden && this.#open.size < MAX_STREAMS && this.#waiting.length) this.#follow(this.#waiting.shift());
  }

  #follow(photo) {
    const source = new EventSource(photo.job?.links?.events ?? `/v1/images/${photo.id}/events`);
    this.#open.set(photo, source);
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#update(photo, JSON.parse(event.data)));
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      this.#close(photo);
      this.lookUp(photo);
      this.#fill();
    };
  }

  #update(photo, job) {
    photo.update(job);
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
