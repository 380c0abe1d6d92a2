import { at } from "./address.js";
import { write } from "./format.js";
import { onTicket, presentTicket, ticketRefused } from "./ticket.js";

// The token bucket of this visitor's address, or of their ticket. Between two answers of the server its level follows from the rate.

const level = document.getElementById("level");
const tokens = document.getElementById("tokens");
const note = document.getElementById("drip");
const stage = document.getElementById("bouncer");
const limit = document.getElementById("limit");
let { rate, burst } = document.querySelector(".home").dataset;
rate = Number(rate);
burst = Number(burst);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Between two questions to the server at least so many ms pass; meanwhile the level is computed.
const PACE_MS = 2000;

let known = null;
let timer = 0;
let request = null;
let askedAt = -Infinity;

export function refresh() {
  request ??= ask();
}

// The level now, in tokens.
function tokensNow() {
  return Math.min(known.limit, known.remaining + ((performance.now() - known.at) / 1000) * rate);
}

async function ask() {
  await sleep(askedAt + PACE_MS - performance.now());
  askedAt = performance.now();
  try {
    const ticket = presentTicket();
    const headers = ticket ? { Authorization: `Bearer ${ticket}` } : {};
    const answer = await fetch(at("v1/quota"), { cache: "no-store", headers });
    const quota = await answer.json();
    if (answer.status === 401) ticketRefused(quota, ticket);
    if (!answer.ok) return;
    if (quota.policy === "ticket") rate = quota.limit / quota.window_s;
    const fraction = quota.next_token_ms ? 1 - Math.min(1, (quota.next_token_ms / 1000) * rate) : 0;
    known = { limit: quota.limit, remaining: Math.floor(quota.remaining) + fraction, at: performance.now() };
    draw();
  } catch {
    // The server is away; the level goes on as computed.
  } finally {
    request = null;
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
  const now = Math.max(0, tokensNow());
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
onTicket(refresh);
