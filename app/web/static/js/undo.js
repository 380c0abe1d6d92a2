import { write } from "./format.js";

// A line that offers to take the last deletion back for some seconds; after that it is done.

const line = document.getElementById("undo");
const SECONDS = 6;
let pending = null;

// Calls `act` when the time is over, another deletion comes or the page is left, or `undo` if the visitor wants that.
export function undoable(text, act, undo) {
  settle();
  pending = { act, undo };
  pending.timer = setTimeout(settle, SECONDS * 1000);
  write(line.querySelector("span"), text);
  line.hidden = false;
}

function settle() {
  const { act, timer } = pending ?? {};
  clearTimeout(timer);
  pending = null;
  line.hidden = true;
  act?.();
}

line.querySelector("button").addEventListener("click", () => {
  const { undo } = pending;
  pending.act = null;
  settle();
  undo();
});
addEventListener("pagehide", () => pending && settle());
