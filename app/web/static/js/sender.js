import { ready } from "./bucket.js";
import { send } from "./transport.js";

const LANES = 2;
const AGAIN = new Set([0, 408, 409, 425, 429, 500, 502, 503, 504, 507]);
const TURN = new Set(["queue", "breaker", "draining"]);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Sends what is waiting, in order. A refused photo comes back at the moment it was told, for whoever
// does gets in; nothing new is sent before that, for it would be refused as well.
export class Sender extends EventTarget {
  #waiting = [];
  #lanes = 0;
  #patient = false;
  #until = 0;

  add(photo) {
    this.#waiting.push(photo);
    this.#open();
  }

  drop(photo) {
    this.#waiting = this.#waiting.filter((other) => other !== photo);
    photo.dropped = true;
    photo.abort?.();
  }

  #open() {
    while (this.#lanes < (this.#patient ? 1 : LANES) && this.#waiting.length) {
      this.#lanes += 1;
      this.#run();
    }
  }

  async #run() {
    while (this.#waiting.length && this.#lanes <= (this.#patient ? 1 : LANES)) {
      const photo = this.#waiting.shift();
      await this.#attempt(photo);
    }
    this.#lanes -= 1;
    if (!this.#waiting.length && !this.#lanes) this.#patient = false;
    this.#open();
  }

  async #attempt(photo) {
    while (!photo.dropped) {
      await sleep((photo.until || this.#until) - Date.now());
      // Once turned away by the bouncer, asking for a token first is cheaper than sending a photo in vain.
      // A turn in the queue is kept for whoever is on time, and costs no second token.
      if (this.#patient && !TURN.has(photo.refusal?.guard)) await ready((until) => photo.set({ state: "token", until }));
      if (photo.dropped) return;
      photo.set({ state: "sending", progress: 0 });
      const { reply, abort } = send(photo, (progress) => photo.set({ progress }));
      photo.abort = abort;
      if (await this.#settle(photo, await reply)) return;
    }
  }

  async #settle(photo, { status, body, wait }) {
    if (photo.dropped) return true;
    this.dispatchEvent(new Event("answer"));
    if (body?.id && status < 300) {
      photo.token = body.delete_token;
      photo.id = body.id;
      photo.file = null;
      photo.follow(body);
      this.dispatchEvent(new CustomEvent("accepted", { detail: photo }));
      return true;
    }
    const degraded = body?.status === "degraded";
    if (status === 0 && !(await readable(photo.file))) {
      photo.set({ state: "failed", problem: { title: "This file can no longer be read", detail: "Choose it again." } });
      return true;
    }
    if (!degraded && !AGAIN.has(status)) {
      photo.set({ state: "failed", problem: body ?? { title: `Refused with status ${status}` } });
      return true;
    }
    const guard = degraded ? "queue" : body?.guard;
    if (guard === "rate") this.#patient = true;
    photo.tries += 1;
    const pause = wait ?? Math.min(30_000, 500 * 2 ** photo.tries) * (0.75 + Math.random() / 2);
    const refusal = { status, guard, type: body?.type, title: body?.title, preview: body?.preview?.url };
    const until = Date.now() + pause;
    this.#until = Math.max(this.#until, until);
    photo.set({ state: "refused", refusal, until });
    return false;
  }
}

async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
