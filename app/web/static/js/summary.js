import { write } from "./format.js";

// One sentence for all photos, read out politely: said once a second at most, and never for a tick of a countdown.

const line = document.getElementById("summary");
let timer = 0;
let latest = [];

export function summary(photos) {
  latest = photos;
  timer ||= setTimeout(say, 900);
}

function say() {
  timer = 0;
  const count = (...states) => latest.filter((photo) => states.includes(photo.state)).length;
  const parts = [
    [count("done"), `of ${latest.length} ready`],
    [count("queued", "processing"), "in the queue"],
    [count("sending", "waiting", "token"), "to be sent"],
    [count("refused"), "refused for now, coming back by themselves"],
    [count("failed"), "failed"],
    [count("expired"), "expired"],
  ];
  const text = parts.filter(([n], place) => n || !place).map(([n, what]) => `${n} ${what}`).join(", ");
  write(line, latest.length ? text : "");
}
