import { duration, size, write } from "./format.js";
import { titlePart } from "./title.js";

// How far all photos of this visit are: a bar that stays in sight, and the same in the title of the tab.

const bar = document.getElementById("bar");
const part = (name) => bar.querySelector(name);
const WINDOW_MS = 30_000;

export class Bar {
  #samples = [];

  constructor(sender, cancel) {
    this.sender = sender;
    part(".pause").addEventListener("click", () => sender.pause(!sender.paused));
    part(".cancel").addEventListener("click", cancel);
    sender.addEventListener("pause", () => write(part(".pause"), sender.paused ? "Go on" : "Pause"));
  }

  // `photos` are those of the visit. The bar goes when all of them have ended.
  show(photos) {
    const ended = photos.filter((photo) => photo.ended).length;
    bar.hidden = ended === photos.length;
    if (bar.hidden) {
      this.#samples = [];
      return titlePart("photos", photos.length ? "Ready" : "");
    }
    const sent = photos.reduce((sum, photo) => sum + photo.size * sentShare(photo), 0);
    const whole = photos.reduce((sum, photo) => sum + photo.size, 0);
    // The sending, and what is done with what was sent, are half of the way each.
    const share = (sent / Math.max(1, whole) + ended / photos.length) / 2;
    part("progress").value = share;
    const left = this.#secondsLeft(share);
    const unsent = photos.some((photo) => !photo.id && !photo.ended);
    const ready = photos.filter((photo) => photo.shown).length;
    const parts = [`${ready} of ${photos.length} ready`, `${size(sent)} of ${size(whole)} sent`, this.#state(unsent) ?? (left && `about ${duration(left)} left`)];
    write(part("p"), parts.filter(Boolean).join(", "));
    part(".pause").hidden = part(".cancel").hidden = !unsent;
    titlePart("photos", `${ready}/${photos.length}`);
  }

  #state(unsent) {
    if (!navigator.onLine) return "offline: goes on when the network is back";
    return unsent && this.sender.paused ? "paused" : null;
  }

  // By the pace of the last half minute; nothing until there is one.
  #secondsLeft(share) {
    const now = performance.now();
    this.#samples.push([now, share]);
    this.#samples = this.#samples.filter(([at]) => now - at <= WINDOW_MS);
    const [[at, before]] = this.#samples;
    return now - at > 3000 && share > before ? ((1 - share) * (now - at)) / (share - before) : null;
  }
}

function sentShare(photo) {
  if (photo.id || photo.ended) return 1;
  return photo.state === "sending" ? photo.progress : 0;
}
