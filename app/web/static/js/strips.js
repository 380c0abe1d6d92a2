// Small strips: the moments that refused clients were told, the receiving slots, and the buckets of an act's clients.

const due = document.getElementById("due");
const receiving = document.getElementById("receiving");
const buckets = document.getElementById("buckets");
const MAX_SHOWN = 40;

function fill(strip, count) {
  while (strip.children.length > count) strip.lastElementChild.remove();
  while (strip.children.length < count) strip.append(document.createElement("i"));
  return [...strip.children];
}

export function showStrips({ backlog, demo }) {
  const most = Math.max(1, ...backlog.due);
  fill(due, backlog.due.length).forEach((mark, second) => mark.style.setProperty("--share", backlog.due[second] / most));
  due.hidden = !backlog.outstanding;
  const slots = Math.min(MAX_SHOWN, backlog.dock);
  const taken = Math.ceil((backlog.receiving / Math.max(1, backlog.dock)) * slots);
  fill(receiving, slots).forEach((slot, index) => slot.classList.toggle("full", index < taken));
  const levels = demo?.buckets ?? [];
  buckets.hidden = !levels.length;
  fill(buckets, levels.length).forEach((bucket, index) => bucket.style.setProperty("--share", levels[index]));
}
