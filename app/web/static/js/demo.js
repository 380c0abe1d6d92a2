import { at } from "./address.js";
import { write } from "./format.js";

// Make pressure: the acts and the levers. Both show the state that the server reports.

const panel = document.getElementById("pressure");
const acts = [...panel.querySelectorAll("[data-act]")];
const levers = [...panel.querySelectorAll("input")];
const outcome = document.getElementById("outcome");
const stop = document.getElementById("stop");
const back = document.getElementById("back");
const backIn = document.getElementById("back-in");
const hint = backIn.textContent;
// For so long after the visitor moved a lever, the server's older value does not move it back.
const TOUCHED_MS = 1500;

let touched = 0;
let sending = false;
let wanted = null;

async function ask(method, path) {
  try {
    const answer = await fetch(at(`v1/demo/${path}`), { method });
    const body = await answer.json();
    if (answer.ok) show(body);
    else write(outcome, body.detail ?? body.title);
  } catch {
    write(outcome, "No answer from the server.");
  }
}

// One request at a time: what is moved meanwhile goes out with the next one.
async function sendLevers() {
  if (sending) return;
  sending = true;
  while (wanted) {
    const query = new URLSearchParams(wanted);
    wanted = null;
    await ask("POST", `levers?${query}`);
  }
  sending = false;
}

function sentence({ act, people, sent, answers, interrupted }) {
  const name = acts.find((button) => button.dataset.act === act)?.textContent ?? act;
  if (sent === undefined) return `${name}: no figures came back.`;
  const answered = Object.entries(answers).map(([status, count]) => `${count} × ${status}`).join(", ");
  return `${name}: ${people} ${sent} requests were answered ${answered}.${interrupted ? " It was stopped; what was accepted goes on." : ""}`;
}

function show({ act, left_s: left, last, levers: values, back_in_s: seconds }) {
  for (const button of acts) {
    // Not disabled, for a disabled button loses the focus.
    button.setAttribute("aria-disabled", String(act !== null));
    button.setAttribute("aria-pressed", String(button.dataset.act === act));
    if (button.dataset.act === act) write(outcome, button.title);
  }
  stop.hidden = act === null;
  if (act === null && last) write(outcome, sentence(last));
  stop.title = act === null ? "" : `It ends by itself in at most ${left} s`;
  back.hidden = seconds === null;
  write(backIn, seconds === null ? hint : `Back to the settings in ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}.`);
  if (Date.now() - touched < TOUCHED_MS) return;
  for (const input of levers) {
    if (input.value !== String(values[input.name])) input.value = values[input.name];
    label(input);
  }
}

function label(input) {
  write(input.parentElement.querySelector("output"), `${input.value}${input.dataset.unit}`);
}

const play = (act) => ask("POST", `acts/${act}`);
for (const button of acts) button.addEventListener("click", () => button.getAttribute("aria-disabled") === "true" || play(button.dataset.act));
document.addEventListener("play", ({ detail }) => play(detail));
// A link to a scenario, such as /?act=crowd, plays it.
const linked = new URLSearchParams(location.search).get("act");
if (acts.some((button) => button.dataset.act === linked)) play(linked);
stop.addEventListener("click", () => ask("DELETE", "acts"));
back.addEventListener("click", () => {
  touched = 0;
  ask("DELETE", "levers");
});
for (const input of levers) {
  input.addEventListener("input", () => {
    touched = Date.now();
    label(input);
    wanted = { ...wanted, [input.name]: input.value };
    sendLevers();
  });
}
document.addEventListener("stats", ({ detail }) => detail.demo && show(detail.demo));
