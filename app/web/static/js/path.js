import { duration, size, write } from "./format.js";

const path = document.getElementById("path");
const figures = [...path.querySelectorAll("[data-figure]")];
const slots = [...document.getElementById("slots").children];
// Of a long queue each drawn slot stands for several places.
const placesPerSlot = document.getElementById("slots").dataset.places / slots.length;
const workerList = document.getElementById("worker-list");
const deferred = document.getElementById("deferred");
const busy = document.getElementById("busy");
const active = document.getElementById("active");
const levers = [...path.querySelectorAll("[data-lever]")];
const workerItem = workerList.firstElementChild;
const MAX_WORKERS_SHOWN = 32;
const since = document.getElementById("since");
const seen = new Map();

const FORMATS = { size, rate: (n) => n.toFixed(n < 10 ? 1 : 0), active: (on) => (on ? "on" : "off"), wait: (ms) => (ms > 0 ? duration(ms) : "none") };

function valueOf(snapshot, name) {
  const value = name.split(".").reduce((node, key) => node?.[key], snapshot);
  return name.startsWith("refusals.") ? (value ?? 0) : value;
}

// What a guard does now, or how long ago it last refused somebody while this page was open.
function showTile(tile, name, value) {
  const { last = value, at } = seen.get(name) ?? {};
  const more = Math.max(0, value - last);
  const now = Date.now();
  seen.set(name, { last: value, at: more ? now : at });
  tile.classList.toggle("hit", more > 0);
  write(tile.querySelector("em"), more ? `${more} now` : at ? `${duration(now - at)} ago` : "");
}

export function showPath(snapshot) {
  let refused = 0;
  for (const element of figures) {
    const name = element.dataset.figure;
    if (name === "refusals") continue;
    const value = valueOf(snapshot, name);
    if (name.startsWith("refusals.")) {
      refused += value;
      showTile(element.closest("li"), name, value);
    }
    write(element, value === undefined ? "–" : (FORMATS[element.dataset.as] ?? String)(value));
  }
  write(path.querySelector('[data-figure="refusals"]'), String(refused));
  write(since, ` in ${duration(1000 * snapshot.uptime_s)}`);
  showSlots(snapshot.backlog);
  showLevers(snapshot.demo?.levers);
  showWorkers(snapshot.workers, snapshot.demo?.levers.workers);
  deferred.value = snapshot.brownout.deferred;
  const moving = snapshot.backlog.waiting + snapshot.backlog.receiving > 0 || busy.textContent !== "0";
  path.classList.toggle("flowing", moving);
}

// Texts that name a setting which a demonstration has changed follow it.
function showLevers(values) {
  if (!values) return;
  const shown = { ...values, interval: Number((1 / values.rate).toPrecision(3)) };
  for (const element of levers) if (element.dataset.lever in shown) write(element, String(shown[element.dataset.lever]));
}

// Slots beyond the capacity that a demonstration has set are drawn as shut.
function showSlots({ waiting, capacity }) {
  const full = Math.ceil(Math.min(slots.length, waiting / placesPerSlot));
  const open = Math.ceil(capacity / placesPerSlot);
  slots.forEach((slot, index) => {
    slot.classList.toggle("full", index < full);
    slot.classList.toggle("shut", index >= open);
  });
}

// Workers that a demonstration has deactivated finish their job and then rest.
function showWorkers(workers, allowed = workers.length) {
  const shown = workers.slice(0, MAX_WORKERS_SHOWN);
  while (workerList.children.length > shown.length) workerList.lastElementChild.remove();
  while (workerList.children.length < shown.length) workerList.append(workerItem.cloneNode(true));
  shown.forEach(({ state: doing, jobs }, index) => {
    const item = workerList.children[index];
    const state = doing === "idle" && index >= allowed ? "resting" : doing;
    if (item.className !== state) item.className = state;
    write(item.querySelector("b"), state);
    write(item.querySelector("small"), jobs === 1 ? "1 job" : `${jobs} jobs`);
  });
  const working = workers.filter(({ state }) => state === "busy").length;
  write(busy, String(working));
  write(active, String(Math.max(allowed, working)));
}
