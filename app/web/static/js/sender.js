import { tokenAvailable } from "./bucket.js";
import { onTicket, ticketMissing, ticketRefused } from "./ticket.js";
import { send } from "./transport.js";

const MAX_SENDING = 2;
// Statuses after which the same photo is sent once more; 0 is no answer.
const RETRIED = new Set([0, 408, 409, 425, 429, 500, 502, 503, 504, 507]);
// Guards after whose refusal the photo needs no second token: their Retry-After reserves a place.
const RESERVING = new Set(["queue", "breaker", "starting", "draining"]);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Sends the waiting photos, in order. A refused photo is sent again exactly when Retry-After says, which keeps
// its reservation; no other photo is sent before that, for it would be refused as well.
// Paused, without a network, or without a ticket where one is needed, it begins nothing new.
export class Sender extends EventTarget {
  paused = false;
  #waiting = [];
  #sending = 0;
  #afterToken = false;
  #notBefore = 0;

  constructor() {
    super();
    addEventListener("online", () => this.dispatchEvent(new Event("online")));
    onTicket(() => this.dispatchEvent(new Event("ticket")));
  }

  pause(paused) {
    this.paused = paused;
    this.dispatchEvent(new Event("pause"));
  }

  // Returns when something may be sent.
  async #allowed() {
    while (this.paused || !navigator.onLine || ticketMissing()) {
      await new Promise((resolve) => {
        this.addEventListener("pause", resolve, { once: true });
        this.addEventListener("online", resolve, { once: true });
        this.addEventListener("ticket", resolve, { once: true });
      });
    }
  }

  // Waits until a moment (ms since the epoch). Who got no answer is woken when the network returns.
  #until(moment, photo) {
    if (photo.refusal?.status !== 0) return sleep(moment - Date.now());
    const back = new Promise((resolve) => this.addEventListener("online", resolve, { once: true }));
    return Promise.race([sleep(moment - Date.now()), back]);
  }

  add(photo) {
    this.#waiting.push(photo);
    this.#start();
  }

  drop(photo) {
    this.#waiting = this.#waiting.filter((other) => other !== photo);
    photo.dropped = true;
    photo.abort?.();
  }

  #start() {
    while (this.#sending < (this.#afterToken ? 1 : MAX_SENDING) && this.#waiting.length) {
      this.#sending += 1;
      this.#run();
    }
  }

  async #run() {
    while (this.#waiting.length && this.#sending <= (this.#afterToken ? 1 : MAX_SENDING)) {
      const photo = this.#waiting.shift();
      await this.#attempt(photo);
    }
    this.#sending -= 1;
    if (!this.#waiting.length && !this.#sending) this.#afterToken = false;
    this.#start();
  }

  async #attempt(photo) {
    while (!photo.dropped) {
      await this.#until(photo.until || this.#notBefore, photo);
      await this.#allowed();
      // Once the bouncer has refused one, asking for a token first is cheaper than sending a photo in vain.
      // A reservation needs none: it is kept for whoever is on time, and costs no second token.
      if (this.#afterToken && !RESERVING.has(photo.refusal?.guard)) await tokenAvailable((until) => photo.set({ state: "token", until }));
      if (photo.dropped) return;
      photo.set({ state: "sending", progress: 0 });
      const { reply, abort } = send(photo, (progress) => photo.set({ progress }));
      photo.abort = abort;
      if (await this.#settle(photo, await reply)) return;
    }
  }

  async #settle(photo, { status, body, wait, ticket }) {
    if (photo.dropped) return true;
    this.dispatchEvent(new Event("answer"));
    // An upload whose job has failed already is answered with the problem, which contains the job.
    const job = body?.job ?? (status < 300 ? body : null);
    if (job?.id) {
      photo.token = job.delete_token;
      photo.id = job.id;
      photo.file = null;
      photo.update(job);
      this.dispatchEvent(new CustomEvent("accepted", { detail: photo }));
      return true;
    }
    const degraded = body?.status === "degraded";
    if (status === 0 && !(await readable(photo.file))) {
      photo.set({ state: "failed", problem: { title: "This file can no longer be read", detail: "Choose it again." } });
      return true;
    }
    if (status === 401 && ticketRefused(body, ticket)) {
      photo.set({ state: "waiting", refusal: null, until: 0 });
      return false;
    }
    if (!degraded && !RETRIED.has(status)) {
      photo.set({ state: "failed", problem: body ?? { title: `Refused with status ${status}` } });
      return true;
    }
    const guard = degraded ? "queue" : body?.guard;
    if (guard === "rate") this.#afterToken = true;
    photo.tries += 1;
    const pause = wait ?? Math.min(30_000, 500 * 2 ** photo.tries) * (0.75 + Math.random() / 2);
    const refusal = { status, guard, type: body?.type, breaker: body?.breaker, title: body?.title, preview: body?.preview };
    const until = Date.now() + pause;
    this.#notBefore = Math.max(this.#notBefore, until);
    photo.set({ state: degraded ? "degraded" : "refused", refusal, until });
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
