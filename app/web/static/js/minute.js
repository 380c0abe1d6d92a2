import { duration, size, write } from "./format.js";

// The charts of the last minute: one step for each second, each chart scaled to its own maximum.

const SECONDS = 60;
const HEIGHT = 20;
const SVG = "http://www.w3.org/2000/svg";
const SHAPE = { viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
const FORMATS = { wait: (ms) => (ms > 0 ? duration(ms) : "none"), size };

const gauges = [...document.querySelectorAll("[data-column]")].map((part) => {
  const svg = part.querySelector("dd").appendChild(document.createElementNS(SVG, "svg"));
  for (const [name, value] of Object.entries(SHAPE)) svg.setAttribute(name, value);
  return {
    column: part.dataset.column,
    format: FORMATS[part.dataset.as] ?? String,
    now: part.querySelector("b"),
    peak: part.querySelector("small"),
    path: svg.appendChild(document.createElementNS(SVG, "path")),
  };
});

// The path of a filled step chart.
function area(values, top) {
  const steps = values.map((value) => `V${(HEIGHT * (1 - value / top)).toFixed(1)}h1`);
  return `M${SECONDS - values.length} ${HEIGHT}${steps.join("")}V${HEIGHT}z`;
}

export function showMinute(minute) {
  for (const { column, format, now, peak, path } of gauges) {
    const values = minute[column] ?? [];
    const top = Math.max(0, ...values);
    write(now, format(values.at(-1) ?? 0));
    write(peak, top ? `peak ${format(top)}` : "");
    path.setAttribute("d", top ? area(values, top) : "");
  }
}
