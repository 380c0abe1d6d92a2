import { size, span, write } from "./format.js";

const path = document.getElementById("path");
const figures = [...path.querySelectorAll("[data-figure]")];
const slots = [...document.getElementById("slots").children];
const each = document.getElementById("slots").dataset.places / slots.length;
const turbines = document.getElementById("turbines");
const lane = document.getElementById("lane");
const busy = document.getElementById("busy");
const worker = turbines.firstElementChild;
const SHOWN = 32;

const AS = { size, rate: (n) => n.toFixed(n < 10 ? 1 : 0), active: (on) => (on ? "on" : "off"), wait: (ms) => (ms > 0 ? span(ms) : "none") };

function look(snapshot, name) {
  const value = name.split(".").reduce((node, key) => node?.[key], snapshot);
  return name.startsWith("refusals.") ? (value ?? 0) : value;
}

export function showPath(snapshot) {
  let refused = 0;
  for (const element of figures) {
    const name = element.dataset.figure;
    if (name === "refusals") continue;
    const value = look(snapshot, name);
    if (name.startsWith("refusals.")) {
      refused += value;
      element.closest("li").classList.toggle("hit", value > 0);
    }
    write(element, value === undefined ? "–" : (AS[element.dataset.as] ?? String)(value));
  }
  write(path.querySelector('[data-figure="refusals"]'), String(refused));
  showSlots(snapshot.backlog);
  showWorkers(snapshot.workers, snapshot.demo?.levers.workers);
  lane.value = snapshot.brownout.deferred;
  const moving = snapshot.backlog.waiting + snapshot.backlog.receiving > 0 || busy.textContent !== "0";
  path.classList.toggle("flowing", moving);
}

// Of a long queue each slot drawn stands for several; those that a demonstration closed are drawn as shut.
function showSlots({ waiting, capacity }) {
  const full = Math.ceil(Math.min(slots.length, waiting / each));
  const open = Math.ceil(capacity / each);
  slots.forEach((slot, place) => {
    slot.classList.toggle("full", place < full);
    slot.classList.toggle("shut", place >= open);
  });
}

// Workers that a demonstration has off duty finish what they have.
function showWorkers(workers, onDuty = workers.length) {
  const shown = workers.slice(0, SHOWN);
  while (turbines.children.length > shown.length) turbines.lastElementChild.remove();
  while (turbines.children.length < shown.length) turbines.append(worker.cloneNode(true));
  shown.forEach(({ state: doing, jobs }, place) => {
    const item = turbines.children[place];
    const state = doing === "idle" && place >= onDuty ? "resting" : doing;
    if (item.className !== state) item.className = state;
    write(item.querySelector("b"), state);
    write(item.querySelector("small"), jobs === 1 ? "1 job" : `${jobs} jobs`);
  });
  write(busy, String(workers.filter(({ state }) => state === "busy").length));
}
