// One photo and its state; dispatches "change" when that changes.

const ENDED = new Set(["done", "failed", "cancelled"]);
let latest = 0;

// When it was added, in ms since the epoch. No two photos of a page have the same, so it orders them.
export function nextOrder() {
  latest = Math.max(Date.now(), latest + 0.001);
  return latest;
}

export class Photo extends EventTarget {
  constructor(name, known = {}) {
    super();
    // Every attempt has the same key, so a repeat after a lost answer finds the same job.
    this.key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    this.name = name;
    this.order = nextOrder();
    this.state = "waiting";
    this.tries = 0;
    Object.assign(this, known);
    this.size ??= this.file?.size ?? this.job?.source?.bytes ?? 0;
  }

  set(change) {
    Object.assign(this, change);
    this.dispatchEvent(new Event("change"));
  }

  update(job) {
    // An older answer that arrives after the event of the end must not undo it.
    if (ENDED.has(this.state) && !ENDED.has(job.status)) return;
    this.set({ job, state: job.status, problem: job.problem, seen: Date.now(), about: false });
  }

  // Its place in the queue, if it waits there with one.
  get place() {
    return this.state === "queued" ? this.job?.position : undefined;
  }

  // Moves its place, as far as that can be told from another photo's, until its own is told again.
  moveUp(places) {
    if (!this.place) return;
    const position = Math.max(1, this.place - places);
    const wait = this.job.estimated_wait_ms;
    const job = { ...this.job, position, estimated_wait_ms: wait && Math.round((wait * position) / this.place) };
    this.set({ job, seen: Date.now(), about: true });
  }

  // Whether there is a result, be it with some sizes put off.
  get ended() {
    return this.state === "expired" || ENDED.has(this.state);
  }

  // Whether nothing about it will change any more.
  get settled() {
    return this.state === "expired" || (this.ended && !this.job?.deferred?.length);
  }

  // Whether it is here to be seen.
  get shown() {
    return this.state === "done" && Boolean(this.job?.variants);
  }
}
