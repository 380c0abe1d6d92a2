import { write } from "./format.js";

// The tour: guess, see the act, read what happened and the code that did it. The act is played by the panel.

const dialog = document.getElementById("tour");
const steps = [...dialog.querySelectorAll(".step")];
const part = (step, name) => step.querySelector(name);
let current = 0;
let playing = null;

function show(index) {
  current = index;
  steps.forEach((step, place) => (step.hidden = place !== index));
  write(document.getElementById("tour-step"), String(index + 1));
  const title = document.getElementById("tour-title");
  write(title, steps[index].dataset.title);
  part(steps[index], ".shown").hidden = true;
  for (const answer of part(steps[index], ".answers").children) answer.className = "";
  title.focus();
}

function guess(step, chosen) {
  const answers = [...part(step, ".answers").children];
  const right = answers[Number(step.dataset.right)];
  for (const answer of answers) answer.className = answer === right ? "right" : answer === chosen ? "wrong" : "";
  part(step, ".shown").hidden = false;
  write(part(step, ".verdict"), chosen === right ? "Yes. See it happen:" : `No: ${right.textContent.toLowerCase()}. See it happen:`);
  write(part(step, ".act"), "Clients are on their way …");
  playing = { step, act: step.dataset.plays, begun: false };
  play();
}

const play = () => document.dispatchEvent(new CustomEvent("play", { detail: playing.act }));

// Follows the act by the server's figures.
function follow({ demo, backlog, refusals }) {
  if (!playing || !demo) return;
  const line = part(playing.step, ".act");
  if (demo.act === playing.act) {
    playing.begun = true;
    write(line, `${backlog.waiting} wait in the queue, ${refusals.rate + refusals.queue} were turned away so far.`);
  } else if (demo.act) write(line, "Another act is still being played. This one follows.");
  else if (!playing.begun) play();
  else {
    write(line, demo.last?.people ?? "It ended without figures.");
    playing = null;
  }
}

for (const [index, step] of steps.entries()) {
  for (const answer of part(step, ".answers").children) answer.addEventListener("click", () => guess(step, answer));
  part(step, ".next").addEventListener("click", () => show((index + 1) % steps.length));
}
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
document.getElementById("tour-open").addEventListener("click", () => {
  dialog.show();
  show(current);
});
document.addEventListener("stats", ({ detail }) => follow(detail));
