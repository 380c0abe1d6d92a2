import { duration, size, write } from "./format.js";

// What would wait if the queue had no bound: everybody who waits here, and everybody who was told to come back instead.
// Beside it the service that got the same crowd for real, if that act was played.

const line = document.getElementById("twin");
const bars = [...document.querySelectorAll(".twin-bars span")];
const real = document.getElementById("twin-real");
const MEMORY = 2 ** 30;
const WINDOW_S = 10;
const USUAL_BYTES = 3e6;
let history = [];

export function compare({ backlog, jobs, accepted_bytes: bytes, memory_bytes: memory, demo }) {
  const each = jobs.accepted ? bytes / jobs.accepted : USUAL_BYTES;
  const here = backlog.waiting + backlog.overflow;
  const there = here + backlog.outstanding + backlog.parked;
  history = [...history, there].slice(-WINDOW_S);
  const growth = (there - history[0]) / history.length;
  const wait = (count) => duration((1000 * count) / Math.max(0.1, backlog.drain_per_s));
  const full = growth > 0 ? (MEMORY / each - there) / growth : Infinity;
  const end = full < 3600 ? `, and at this pace 1 GiB of memory would be full in ${duration(1000 * Math.max(0, full))}` : "";
  const beyond = there > here ? `Without the bound ${there} would wait, ${wait(there)}, with ${size(there * each)} of photos in memory${end}.` : "Nobody had to be sent away, so without a bound it would be the same.";
  write(line, `Here ${here} wait, ${here ? wait(here) : "0 s"}, and the whole service has ${size(memory)}. ${beyond}`);
  const widest = Math.max(backlog.capacity, there, 1);
  bars[0].style.width = `${(100 * here) / widest}%`;
  bars[1].style.width = `${(100 * there) / widest}%`;
  tell(demo?.unbounded);
}

function tell(other) {
  real.hidden = !other;
  if (!other) return;
  const { accepted, done, lost, died, memory_bytes: used, max_bytes: limit } = other;
  const end = died ? `It died at ${size(limit)}, and ${lost} photos with it. Here every photo that was taken is made.` : `It has ${size(used)} of ${size(limit)}, and ${accepted - done} photos in it.`;
  write(real, `The usual service got the same crowd beside: it took ${accepted} and made ${done}. ${end}`);
  real.classList.toggle("died", died);
}
