import { at } from "./address.js";
import { isProvisional } from "./cascade.js";
import { duration, sides, size } from "./format.js";

const GUARDS = {
  rate: "the bouncer: your bucket is empty",
  share: "the guards: you have enough photos inside",
  queue: "the queue: it is full",
  disk: "the store: it is full",
  starting: "the server: it has just been started",
  draining: "the server: it is about to stop",
  breaker: "the server: a part of it fails",
};

const PREVIEWS = { exif: "Only a preview for now", placeholder: "Only a placeholder for now" };

const FRESH_MS = 4000;

const timeLeft = (photo) => duration(photo.until - Date.now());

// A sentence about a photo's state, and the page that explains its problem, if any.
export function statusOf(photo) {
  const { state, job } = photo;
  switch (state) {
    case "waiting": return { text: `Waiting to be sent, ${size(photo.file.size)}` };
    case "token": return { text: `Waiting for a token, ${timeLeft(photo)}` };
    case "sending": return { text: photo.progress < 1 ? `Sending, ${Math.round(photo.progress * 100)} %` : "Sent; waiting for the answer" };
    case "refused": return refused(photo);
    case "degraded": return { text: `${PREVIEWS[photo.refusal.preview?.kind] ?? "Not kept yet"}: the queue is full. The photo itself is sent again in ${timeLeft(photo)}`, link: page(null, "queue", "#visitor") };
    case "queued": return { text: queued(photo) };
    case "processing": return { text: "A worker has it" };
    case "done": return { text: done(job) };
    case "failed": return { text: [photo.problem?.title, photo.problem?.detail].filter(Boolean).join(". "), link: page(photo.problem?.type) };
    case "cancelled": return { text: "Cancelled" };
    case "expired": return { text: "Expired: its time here is over" };
    default: return { text: "Looking it up" };
  }
}

function refused(photo) {
  const { status, guard, type, breaker } = photo.refusal;
  if (!status) return { text: navigator.onLine ? `No answer from the server. Trying again in ${timeLeft(photo)}` : "Offline. Goes on when the network is back" };
  const by = breaker ? `the ${breaker}: failing, to be tried again` : GUARDS[guard];
  const who = by ? `Refused by ${by}` : "Refused";
  return { text: `${who} (${status}). Back in ${timeLeft(photo)}`, link: page(type, guard, "#visitor") };
}

// The page that explains a problem. With the mark it also tells visitors that they have nothing to do.
function page(type, guard, mark = "") {
  const slug = /\/problems\/([a-z-]+)$/.exec(type)?.[1] ?? (guard in GUARDS ? guard : null);
  return slug && at(`problems/${slug}`) + mark;
}

// A place that was told a while ago has changed since.
function queued({ job, seen, about }) {
  if (!(Date.now() - seen < FRESH_MS)) return "In the queue";
  const place = job.position ? `Place ${about ? "about " : ""}${job.position} in the queue` : "In the queue";
  return job.estimated_wait_ms == null ? place : `${place}, about ${duration(job.estimated_wait_ms)}`;
}

function done(job) {
  const took = Date.parse(job.finished_at) - Date.parse(job.created_at);
  const source = job.source?.width ? `${sides(job.source)} ${job.source.format.toUpperCase()}, ${size(job.source.bytes)}` : "";
  const own = isProvisional({ job }) ? "the thumbnail in the photo for now" : "";
  const later = job.deferred?.length ? `${job.deferred.join(", ")} to follow when the pressure is gone` : "";
  return [source, took >= 0 ? `ready in ${duration(took)}` : "", own, later].filter(Boolean).join("; ");
}
