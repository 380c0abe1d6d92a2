// One photo on its way: what is known of it, and who wants to hear when that changes.

const ended = new Set(["done", "failed", "cancelled"]);

export class Photo extends EventTarget {
  constructor(name, known = {}) {
    super();
    // A repeat after a lost answer must find the same job, so the key belongs to the photo, not to the try.
    this.key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    this.name = name;
    this.state = "waiting";
    this.tries = 0;
    Object.assign(this, known);
  }

  set(change) {
    Object.assign(this, change);
    this.dispatchEvent(new Event("change"));
  }

  follow(job) {
    // An answer that an event overtook on the way must not undo the end.
    if (ended.has(this.state) && !ended.has(job.status)) return;
    this.set({ job, state: job.status, problem: job.problem });
  }

  get settled() {
    return this.state === "expired" || (ended.has(this.state) && !this.job?.deferred?.length);
  }
}
