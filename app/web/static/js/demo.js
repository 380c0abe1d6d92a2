import { write } from "./format.js";

// Make pressure: the acts and the levers. What they show is what the server says of them.

const panel = document.getElementById("pressure");
const acts = [...panel.querySelectorAll("[data-act]")];
const levers = [...panel.querySelectorAll("input")];
const told = document.getElementById("told");
const stop = document.getElementById("stop");
const back = document.getElementById("back");
const backIn = document.getElementById("back-in");
const hint = backIn.textContent;
const TOUCHED_MS = 1500;

let touched = 0;
let turning = false;
let wanted = null;

async function ask(method, path) {
  try {
    const answer = await fetch(`/v1/demo/${path}`, { method });
    const body = await answer.json();
    if (answer.ok) show(body);
    else write(told, body.detail ?? body.title);
  } catch {
    write(told, "No answer from the server.");
  }
}

// While one turn is on its way only the latest of the next ones is kept.
async function turn() {
  if (turning) return;
  turning = true;
  while (wanted) {
    const query = new URLSearchParams(wanted);
    wanted = null;
    await ask("POST", `levers?${query}`);
  }
  turning = false;
}

function sentence({ act, sent, answers, kept, promised, whole, interrupted }) {
  if (sent === undefined) return `${act}: it could not tell what came of it.`;
  const answered = Object.entries(answers).map(([status, count]) => `${count} × ${status}`).join(", ");
  const end = whole ? "nothing lost" : interrupted ? "stopped; what was accepted goes on" : "not all was seen to its end";
  return `${act}: ${sent} uploads sent, answered ${answered}; ${kept} of ${promised} accepted are done; ${end}.`;
}

function show({ act, left_s: left, last, levers: at, back_in_s: seconds }) {
  for (const button of acts) {
    button.disabled = act !== null;
    button.setAttribute("aria-pressed", String(button.dataset.act === act));
    if (button.dataset.act === act) write(told, button.title);
  }
  stop.hidden = act === null;
  if (act === null && last) write(told, sentence(last));
  stop.title = act === null ? "" : `It ends by itself in at most ${left} s`;
  back.hidden = seconds === null;
  write(backIn, seconds === null ? hint : `Back to the settings in ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}.`);
  if (Date.now() - touched < TOUCHED_MS) return;
  for (const input of levers) {
    if (input.value !== String(at[input.name])) input.value = at[input.name];
    tell(input);
  }
}

function tell(input) {
  write(input.parentElement.querySelector("output"), `${input.value}${input.dataset.unit}`);
}

for (const button of acts) button.addEventListener("click", () => ask("POST", `acts/${button.dataset.act}`));
stop.addEventListener("click", () => ask("DELETE", "acts"));
back.addEventListener("click", () => {
  touched = 0;
  ask("DELETE", "levers");
});
for (const input of levers) {
  input.addEventListener("input", () => {
    touched = Date.now();
    tell(input);
    wanted = { ...wanted, [input.name]: input.value };
    turn();
  });
}
document.addEventListener("stats", ({ detail }) => detail.demo && show(detail.demo));
