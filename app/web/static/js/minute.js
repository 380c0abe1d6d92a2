import { size, span, write } from "./format.js";

// The charts of the last minute, one step a second, each scaled to its own highest.

const SECONDS = 60;
const HEIGHT = 20;
const SVG = "http://www.w3.org/2000/svg";
const SHAPE = { viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
const AS = { wait: (ms) => (ms > 0 ? span(ms) : "none"), size };

const gauges = [...document.querySelectorAll("[data-column]")].map((part) => {
  const svg = part.querySelector("dd").appendChild(document.createElementNS(SVG, "svg"));
  for (const [name, value] of Object.entries(SHAPE)) svg.setAttribute(name, value);
  return {
    column: part.dataset.column,
    as: AS[part.dataset.as] ?? String,
    now: part.querySelector("b"),
    peak: part.querySelector("small"),
    path: svg.appendChild(document.createElementNS(SVG, "path")),
  };
});

function area(values, top) {
  const steps = values.map((value) => `V${(HEIGHT * (1 - value / top)).toFixed(1)}h1`);
  return `M${SECONDS - values.length} ${HEIGHT}${steps.join("")}V${HEIGHT}z`;
}

export function showMinute(minute) {
  for (const { column, as, now, peak, path } of gauges) {
    const values = minute[column] ?? [];
    const top = Math.max(0, ...values);
    write(now, as(values.at(-1) ?? 0));
    write(peak, top ? `peak ${as(top)}` : "");
    path.setAttribute("d", top ? area(values, top) : "");
  }
}
