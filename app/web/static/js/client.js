// Uploads photos to a Spillway service, from its own page or from any other (docs/front-end.md). It keeps to the client's
// token bucket, sends a refused photo again when Retry-After says, and imports nothing.

// The service is where this module comes from: {service}/client.js or {service}/static/{release}/js/client.js.
const HERE = new URL(".", import.meta.url).href.replace(/static\/([^/]+\/)?js\/$/, "");
const AT_ONCE = 2;
// Statuses after which the same photo is sent once more; 0 is no answer.
const RETRIED = new Set([0, 408, 409, 425, 429, 500, 502, 503, 504, 507]);
// Guards after whose refusal a photo needs no second token: their Retry-After reserves a place.
const RESERVING = new Set(["queue", "breaker", "starting", "draining"]);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isOffline = () => globalThis.navigator?.onLine === false;
// The ms that a Retry-After tells, or null.
const waitOf = (field) => (/^\d+$/.test(field) ? 1000 * field : null);
const backoff = (tries) => Math.min(30_000, 500 * 2 ** tries) * (0.75 + Math.random() / 2);
// crypto.randomUUID() is for secure pages only.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// Resolves with the first of these events.
const once = (...events) =>
  new Promise((resolve) => {
    for (const [target, name] of events) target?.addEventListener?.(name, resolve, { once: true });
  });

// The service will not take an upload, or has not made what was asked of it.
export class Refused extends Error {
  constructor(status, problem) {
    super([problem?.title ?? `Refused with status ${status}`, problem?.detail].filter(Boolean).join(". "));
    this.name = "Refused";
    this.status = status;
    this.problem = problem ?? { title: this.message, status };
  }
}

// Spaces uploads by the RateLimit fields of earlier answers. While the bucket has tokens nothing waits; once it is empty,
// each upload gets a moment of its own.
class Pacer {
  #next = 0;
  #interval = 0;

  // Takes the next free moment; the ms until then.
  reserve() {
    const wait = Math.max(0, this.#next - performance.now());
    if (wait) this.#next += this.#interval;
    return wait;
  }

  learn(policy, state) {
    const [, burst, seconds] = /;q=(\d+);w=(\d+)/.exec(policy) ?? [];
    const [, left, next] = /;r=(\d+);t=(\d+)/.exec(state) ?? [];
    if (!burst || left !== "0") return;
    this.#interval = (1000 * seconds) / Math.max(1, burst);
    this.#next = Math.max(this.#next, performance.now() + Math.min(1000 * next, this.#interval));
  }
}

// --- files that are still to be sent, in a database of the page's origin ---

const tab = newKey();
const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
let database;

function open() {
  // A lock that is held for as long as this tab lives tells other tabs whose files are still being sent.
  globalThis.navigator?.locks?.request(`spillway-${tab}`, () => new Promise(() => {}));
  const request = indexedDB.open("spillway-client", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("unsent", { keyPath: "key" });
  return done(request);
}

// Runs `use` with the stored files; what it gives, or `otherwise` where the browser keeps none.
async function stored(use, otherwise) {
  try {
    return await use((await (database ??= open())).transaction("unsent", "readwrite").objectStore("unsent"));
  } catch {
    return otherwise;
  }
}

const keepFile = ({ file, options }) => stored((unsent) => done(unsent.put({ key: options.key, file, tab, options })).then(() => true), false);
const dropFile = (key) => stored((unsent) => done(unsent.delete(key)));

// --- uploading ---

let uploads = 0;

export class Uploader extends EventTarget {
  paused = false;
  #waiting = [];
  #sending = 0;
  #notBefore = 0;
  #pacer = new Pacer();

  constructor({ base = HERE, ticket } = {}) {
    super();
    this.base = String(base).replace(/\/*$/, "/");
    this.ticket = ticket;
  }

  // Paused, it begins nothing new.
  pause(paused = true) {
    this.paused = paused;
    this.dispatchEvent(new Event("pause"));
  }

  // Resolves with the document of the image when the service has accepted it; rejects with Refused, or as `signal` says.
  async upload(file, { signal, onProgress, onRefused, ticket = this.ticket, ...options } = {}) {
    signal?.throwIfAborted();
    const { key = newKey(), name = file.name || "photo", until = 0, guard } = options;
    const task = { file, signal, onProgress, onRefused, ticket, until, refusal: guard && { guard }, tries: 0 };
    // The order is that of the calls, those of earlier visits first.
    task.options = { order: Date.now() + (uploads += 0.001), ...options, key, name, base: this.base };
    task.stopped = new Promise((_, stop) => signal?.addEventListener("abort", () => stop(signal.reason), { once: true }));
    task.stopped.catch(() => {
      this.#waiting = this.#waiting.filter((other) => other !== task);
      this.#end(task, { state: "cancelled" });
    });
    const accepted = new Promise((resolve, reject) => Object.assign(task, { resolve, reject }));
    this.#waiting.push(task);
    if (options.keep) keepFile(task).then((kept) => this.#tell(task, { kept }));
    if (this.#sending < AT_ONCE) this.#run();
    return Promise.race([accepted, task.stopped]);
  }

  // What earlier visits left unsent, as the arguments of `upload`, the oldest first. It is this page's from here on.
  // With a field, those of that form field alone.
  async unsent(field) {
    const held = new Set(((await globalThis.navigator?.locks?.query())?.held ?? []).map((lock) => lock.name).concat(`spillway-${tab}`));
    return stored(async (unsent) => {
      const left = (await done(unsent.getAll())).filter((entry) => entry.options.base === this.base && entry.options.field === field && !held.has(`spillway-${entry.tab}`));
      for (const entry of left) unsent.put({ ...entry, tab });
      return left.map(({ file, options }) => ({ file, options })).toSorted((a, b) => a.options.order - b.options.order);
    }, []);
  }

  // Resolves with the document of an image when it is done; rejects with Refused if it failed or is gone.
  async wait(image, { signal } = {}) {
    let job = image;
    let tries = 0;
    while (!["done", "failed", "cancelled"].includes(job.status)) {
      const { status, body, wait } = await this.#look(image.id, signal);
      if (body?.id) job = body;
      else if (!RETRIED.has(status)) throw new Refused(status, body);
      tries = body?.id ? 0 : tries + 1;
      if (tries) await Promise.race([sleep(wait ?? backoff(tries)), once([globalThis, "online"], [signal, "abort"])]);
    }
    if (job.status !== "done") throw new Refused(job.problem?.status ?? 404, job.problem);
    return job;
  }

  async #look(id, signal) {
    try {
      const answer = await fetch(`${this.base}v1/images/${id}`, { headers: { Prefer: "wait=20" }, cache: "no-store", signal });
      return { status: answer.status, body: await answer.json(), wait: waitOf(answer.headers.get("Retry-After")) };
    } catch {
      signal?.throwIfAborted();
      return { status: 0 };
    }
  }

  // Removes an image, by the document that `upload` gave, which has its delete token.
  async remove({ id, delete_token: token }) {
    const answer = await fetch(`${this.base}v1/images/${id}`, { method: "DELETE", keepalive: true, headers: { Authorization: `Bearer ${token}` } });
    if (!answer.ok && answer.status !== 404) throw new Refused(answer.status, await answer.json().catch(() => null));
  }

  #tell({ options: { key, name } }, change) {
    this.dispatchEvent(new CustomEvent("change", { detail: { key, name, ...change } }));
  }

  #end(task, change) {
    if (task.ended) return;
    task.ended = true;
    if (task.options.keep) dropFile(task.options.key);
    this.#tell(task, change);
  }

  async #run() {
    this.#sending += 1;
    for (let task; (task = this.#waiting.shift()); ) {
      try {
        const job = await this.#deliver(task);
        this.#end(task, { state: "accepted", job });
        task.resolve(job);
      } catch (error) {
        this.#end(task, { state: "failed", problem: error.problem ?? { title: String(error) } });
        task.reject(error);
      }
    }
    this.#sending -= 1;
  }

  async #deliver(task) {
    for (let refused; ; ) {
      const ticket = await Promise.race([this.#turn(task, refused), task.stopped]);
      const { status, body, wait } = await Promise.race([this.#send(task, ticket), task.stopped]);
      this.#tell(task, { answered: status });
      // An upload whose job has failed already is answered with the problem, which contains the job.
      const job = body?.job ?? (status < 300 && body);
      if (job?.id) return job;
      if (status === 0) await readable(task.file);
      refused = status === 401 && typeof task.ticket === "function" && { ticket, problem: body };
      if (refused) this.#tell(Object.assign(task, { until: 0, refusal: null, hasToken: false }), { state: "waiting" });
      else if (body?.status === "degraded" || RETRIED.has(status)) this.#refuse(task, status, body, wait);
      else throw new Refused(status, body);
    }
  }

  // Waits until this photo may be sent; the ticket to send with it.
  async #turn(task, refused) {
    const due = sleep((task.until || this.#notBefore) - Date.now());
    // Who got no answer is woken when the network returns.
    await (task.refusal?.status === 0 ? Promise.race([due, once([globalThis, "online"])]) : due);
    let { ticket } = task;
    do {
      while (this.paused || isOffline()) await once([this, "pause"], [globalThis, "online"]);
      if (typeof task.ticket === "function") ticket = await task.ticket(refused || undefined);
    } while (this.paused || isOffline());
    if (refused && ticket === refused.ticket) throw new Refused(401, refused.problem);
    // A reservation is kept for whoever is on time, and costs no second token.
    const pause = task.hasToken || RESERVING.has(task.refusal?.guard) ? 0 : this.#pacer.reserve();
    if (pause) this.#tell(task, { state: "token", until: Date.now() + pause });
    await sleep(pause);
    return ticket;
  }

  // One attempt. Without an answer the status is 0.
  #send({ file, signal, onProgress, options }, ticket) {
    const { key, name, variants, reference, lenient } = options;
    const request = new XMLHttpRequest(); // fetch() tells no progress
    const query = new URLSearchParams({ ...(variants?.length && { variants: String(variants) }), ...(reference && { reference }) });
    const form = new FormData();
    form.append("file", file, name);
    const progress = (share) => {
      this.#tell({ options }, { state: "sending", progress: share });
      onProgress?.(share);
    };
    const reply = new Promise((resolve) => {
      request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
      request.onloadend = () => resolve(this.#read(request));
    });
    request.open("POST", `${this.base}v1/images?${query}`);
    request.setRequestHeader("Accept", "application/json, application/problem+json");
    // A server that is quick answers with the finished photo, which then needs no further request.
    request.setRequestHeader("Prefer", lenient ? "wait=1, handling=lenient" : "wait=1");
    request.setRequestHeader("Idempotency-Key", `"${key}"`);
    if (ticket) request.setRequestHeader("Authorization", `Bearer ${ticket}`);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    progress(0);
    request.send(form);
    return reply;
  }

  #read(request) {
    let body = null;
    try {
      body = JSON.parse(request.responseText);
    } catch {
      // A proxy's page, or nothing: the status has to do.
    }
    this.#pacer.learn(request.getResponseHeader("RateLimit-Policy"), request.getResponseHeader("RateLimit"));
    return { status: request.status, body, wait: waitOf(request.getResponseHeader("Retry-After")) };
  }

  // Notes when this photo is sent again. No other one is begun before that, for it would be refused as well, except after
  // an empty bucket: then each has a moment of its own.
  #refuse(task, status, body, wait) {
    const guard = body?.guard ?? (body?.preview && "queue");
    task.hasToken = guard === "rate";
    task.tries += 1;
    const pause = task.hasToken ? Math.max(body.retry_after_ms ?? wait, this.#pacer.reserve()) : (wait ?? backoff(task.tries));
    const until = Date.now() + pause;
    task.until = until;
    if (!task.hasToken) this.#notBefore = Math.max(this.#notBefore, until);
    task.refusal = { ...body, status, guard, until };
    Object.assign(task.options, { until, guard });
    if (task.options.keep && !task.ended) keepFile(task);
    this.#tell(task, { state: body?.preview ? "degraded" : "refused", refusal: task.refusal, until });
    task.onRefused?.(task.refusal);
  }
}

// A file that was changed or removed meanwhile cannot be sent, which looks like a failure of the network.
const readable = (file) => file.slice(0, 1).arrayBuffer().catch(() => {
  throw new Refused(0, { title: "This file can no longer be read", detail: "Choose it again." });
});

// Of this page, for all that it sends to the service of this module: they share one bucket.
export const uploader = new Uploader();
export const upload = (file, options) => uploader.upload(file, options);
export const wait = (image, options) => uploader.wait(image, options);
export const remove = (image) => uploader.remove(image);
export const unsent = () => uploader.unsent();

// --- <spillway-upload>: a field of a form, whose value are the ids of the images that were accepted ---

const STYLE = `:host{display:block;font:inherit}:host([hidden]){display:none}
ul{list-style:none;margin:0;padding:0}li{display:flex;flex-wrap:wrap;gap:.75em;padding:.25em 0}
.name{overflow-wrap:anywhere}progress{width:6em}`;

const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const secondsTo = (moment) => `${Math.max(0, Math.ceil((moment - Date.now()) / 1000))} s`;
const TEXTS = {
  waiting: () => "Waiting",
  token: ({ until }) => `Its turn is in ${secondsTo(until)}`,
  sending: () => "Sending",
  refused: ({ until, refusal }) => `${refusal.status ? "The server is busy" : "No answer"}. Again in ${secondsTo(until)}`,
  degraded: (item) => TEXTS.refused(item),
  accepted: () => "Uploaded",
  failed: ({ problem }) => [problem.title, problem.detail].filter(Boolean).join(". "),
};

// Where there are no elements (in a worker, on a server), the functions above work alone.
class SpillwayUpload extends (globalThis.HTMLElement ?? Object) {
  static formAssociated = true;
  static observedAttributes = ["accept", "aria-label", "disabled", "multiple", "required"];
  uploader = uploader;
  ticket = undefined;
  #items = new Map();
  #internals = this.attachInternals();
  #input = make("input", { type: "file" });
  #list = make("ul", { role: "list" });
  #timer = 0;
  #follow = ({ detail: { key, ...change } }) => this.#items.has(key) && this.#change(this.#items.get(key), change);

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    // A style sheet that is made by a script needs no permission of the page's Content-Security-Policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.append(this.#input, this.#list);
    this.#input.addEventListener("change", () => {
      this.add(this.#input.files);
      this.#input.value = "";
    });
    for (const type of ["dragover", "drop"]) this.addEventListener(type, (event) => this.#drag(event));
  }

  get form() {
    return this.#internals.form;
  }

  get name() {
    return this.getAttribute("name") ?? "";
  }

  // The documents of the images that were accepted, in the order of the files.
  get images() {
    return [...this.#items.values()].map(({ job }) => job).filter(Boolean);
  }

  get value() {
    return this.images.map(({ id }) => id).join(",");
  }

  // Uploads files, as if they had been chosen. Without `multiple` the last one takes the place of all others.
  add(files) {
    const chosen = this.hasAttribute("multiple") ? [...files] : [...files].slice(-1);
    if (chosen.length && !this.hasAttribute("multiple")) this.#clear();
    for (const file of chosen) this.#upload(file, { keep: this.hasAttribute("keep"), field: this.name });
  }

  async connectedCallback() {
    this.uploader.addEventListener("change", this.#follow);
    this.#timer = setInterval(() => this.#draw(), 500);
    this.attributeChangedCallback();
    if (!this.hasAttribute("keep")) return;
    for (const { file, options } of await this.uploader.unsent(this.name)) this.#upload(file, options);
  }

  disconnectedCallback() {
    this.uploader.removeEventListener("change", this.#follow);
    clearInterval(this.#timer);
  }

  attributeChangedCallback() {
    const input = this.#input;
    input.accept = this.getAttribute("accept") ?? "image/*,.heic,.heif,.avif";
    input.ariaLabel = this.getAttribute("aria-label") ?? "Choose photos";
    input.multiple = this.hasAttribute("multiple");
    input.disabled = this.matches(":disabled");
    this.#settle();
  }

  formDisabledCallback() {
    this.attributeChangedCallback();
  }

  formResetCallback() {
    this.#clear();
    this.#settle();
  }

  formStateRestoreCallback(state) {
    for (const { name, job } of JSON.parse(state)) this.#item({ key: job.id, name, state: "accepted", job });
  }

  #drag(event) {
    if (!event.dataTransfer?.types.includes("Files") || this.#input.disabled) return;
    event.preventDefault();
    if (event.type === "drop") this.add(event.dataTransfer.files);
  }

  #upload(file, options) {
    const attribute = (name) => this.getAttribute(name) ?? undefined;
    const stop = new AbortController();
    const key = options.key ?? newKey();
    this.#item({ key, name: file.name || "photo", state: "waiting", stop });
    const asked = { variants: attribute("variants")?.split(","), reference: attribute("reference"), ticket: this.ticket ?? attribute("ticket") };
    this.uploader.upload(file, { ...asked, ...options, key, signal: stop.signal }).catch(() => {}); // told by the event
  }

  #item(item) {
    const drop = () => {
      this.#drop(item);
      this.#input.focus();
      this.#settle("change");
    };
    item.text = make("span", { role: "status" });
    item.bar = make("progress", { max: 1, ariaLabel: `Sending ${item.name}` });
    const button = make("button", { type: "button", textContent: "Remove", ariaLabel: `Remove ${item.name}`, onclick: drop });
    item.row = make("li", {}, make("span", { className: "name", textContent: item.name, dir: "auto" }), item.bar, item.text, button);
    this.#items.set(item.key, item);
    this.#list.append(item.row);
    this.#settle();
  }

  #change(item, change) {
    Object.assign(item, change);
    if (change.state === "sending") return this.#draw();
    if (change.state) this.dispatchEvent(new CustomEvent(change.state, { detail: change, bubbles: true }));
    return this.#settle(change.job && "change");
  }

  #drop(item) {
    item.stop?.abort();
    item.row.remove();
    this.#items.delete(item.key);
    if (item.job?.delete_token) this.uploader.remove(item.job).catch(() => {}); // it expires
  }

  #clear() {
    for (const item of this.#items.values()) this.#drop(item);
  }

  // Tells the form the value, and whether it may be sent.
  #settle(type) {
    const items = [...this.#items.values()];
    const accepted = items.filter(({ job }) => job);
    const value = new FormData();
    for (const { job } of accepted) value.append(this.name, job.id);
    this.#internals.setFormValue(value, JSON.stringify(accepted.map(({ name, job }) => ({ name, job }))));
    const customError = items.some(({ job, state }) => !job && state !== "failed");
    const valueMissing = this.hasAttribute("required") && !accepted.length;
    const message = customError ? "Photos are still being uploaded." : valueMissing ? "Choose a photo." : "";
    this.#internals.setValidity({ customError, valueMissing }, message, this.#input);
    this.#draw();
    if (type) this.dispatchEvent(new Event(type, { bubbles: true }));
  }

  #draw() {
    for (const item of this.#items.values()) {
      const text = TEXTS[item.state]?.(item) ?? "";
      if (item.text.textContent !== text) item.text.textContent = text;
      item.bar.hidden = item.state !== "sending";
      item.bar.value = item.progress ?? 0;
    }
  }
}

if (globalThis.customElements && !customElements.get("spillway-upload")) customElements.define("spillway-upload", SpillwayUpload);
