import { write } from "./format.js";

// One sentence about all photos in a live region: changed once a second at most, and not by countdowns.

const line = document.getElementById("summary");
let timer = 0;
let latest = [];
let gone = 0;

export function summary(photos, expired) {
  latest = photos;
  gone = expired;
  timer ||= setTimeout(show, 900);
}

function show() {
  timer = 0;
  const count = (...states) => latest.filter((photo) => states.includes(photo.state)).length;
  const parts = [
    [count("done"), `of ${latest.length} ready`],
    [count("queued", "processing"), "in the queue"],
    [count("sending", "waiting", "token"), "to be sent"],
    [count("degraded"), "as a preview for now, sent again by themselves"],
    [count("refused"), "refused for now, coming back by themselves"],
    [count("failed"), "failed"],
    [gone, "expired and gone"],
  ];
  const text = parts.filter(([n], index) => n || index === 0).map(([n, what]) => `${n} ${what}`).join(", ");
  write(line, latest.length || gone ? text : "");
}
