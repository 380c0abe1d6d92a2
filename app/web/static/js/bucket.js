import { write } from "./format.js";

// The token bucket of this visitor's address. Between two answers of the server its level follows from the rate.

const level = document.getElementById("level");
const tokens = document.getElementById("tokens");
const note = document.getElementById("drip");
const stage = document.getElementById("bouncer");
const limit = document.getElementById("limit");
let { rate, burst } = document.querySelector(".home").dataset;
rate = Number(rate);
burst = Number(burst);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let known = null;
let timer = 0;
let request = null;

export function refresh() {
  request ??= ask().finally(() => (request = null));
  return request;
}

async function ask() {
  try {
    const answer = await fetch("/v1/quota", { cache: "no-store" });
    if (!answer.ok) return null;
    const quota = await answer.json();
    const fraction = quota.next_token_ms ? 1 - Math.min(1, (quota.next_token_ms / 1000) * rate) : 0;
    known = { limit: quota.limit, remaining: Math.floor(quota.remaining) + fraction, at: performance.now() };
    draw();
    return quota;
  } catch {
    return null;
  }
}

// Resolves when there is a token to spend; calls onWait with the time of the next one (ms) if there is none yet.
export async function tokenAvailable(onWait) {
  for (let tries = 0; ; tries += 1) {
    const quota = await ask();
    if (quota === null || quota.remaining >= 1) return;
    const wait = Math.max(20, quota.next_token_ms);
    if (!tries) onWait(Date.now() + wait);
    await sleep(wait);
  }
}

// A demonstration may change rate and burst while the page is open.
export function reconfigure(levers) {
  if (levers.rate === rate && (levers.burst ?? burst) === burst) return;
  rate = levers.rate;
  burst = levers.burst ?? burst;
  refresh();
}

function draw() {
  clearTimeout(timer);
  const now = Math.min(known.limit, known.remaining + ((performance.now() - known.at) / 1000) * rate);
  const whole = Math.floor(now + 1e-6);
  const full = whole >= known.limit;
  write(tokens, String(whole));
  write(limit, String(known.limit));
  level.setAttribute("y", 56 - 48 * (now / known.limit));
  stage.classList.toggle("filling", !full);
  stage.style.setProperty("--every", `${Math.max(0.25, 1 / rate)}s`);
  note.textContent = full ? "Full. Only an upload costs a token; looking is free." : "Refilling, drop by drop.";
  if (!full && !document.hidden) timer = setTimeout(draw, Math.max(100, ((whole + 1 - now) / rate) * 1000));
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
