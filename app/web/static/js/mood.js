import { titlePart } from "./title.js";

// The state of the server in one word: on the page, in the title and in the tab's icon.

const box = document.getElementById("mood");
const line = box.querySelector("p");
const icon = document.querySelector("link[rel=icon]");
const usualIcon = icon.href;

const MOODS = {
  calm: ["Calm", "calm", ""],
  pressure: ["Pressure", "pressure-on", "#e39b1e"],
  brownout: ["Brownout", "brownout", "#e8710a"],
  breaker: ["Breaker open", "broken", "#c8321e"],
  starting: ["Starting", "pressure-on", "#e39b1e"],
  draining: ["Draining", "broken", "#c8321e"],
  away: ["No contact", "", "#7c8b8f"],
};

export function moodOf({ state, breakers, brownout, backlog, minute }) {
  if (Object.entries(breakers).some(([name, each]) => name !== "webhook" && each !== "closed")) return "breaker";
  if (state === "starting" || state === "draining") return state;
  if (brownout.active) return "brownout";
  const lately = (column) => minute[column].slice(-5).reduce((sum, count) => sum + count, 0);
  const allRefused = lately("429") > 0 && lately("accepted") === 0;
  return lately("503") || allRefused || backlog.waiting > backlog.capacity / 2 ? "pressure" : "calm";
}

export function showMood(mood) {
  const [word, className, colour] = MOODS[mood];
  if (line.textContent === word) return;
  line.textContent = word;
  box.className = `mood ${className}`;
  titlePart("mood", colour ? word : "");
  icon.href = colour ? drawn(colour, mood) : usualIcon;
}

// Colour is not the only sign: under pressure a dot has it, from a brownout on the icon.
function drawn(colour, mood) {
  const slope = mood === "pressure" ? "#08687a" : colour;
  const mark = `<path fill="${slope}" d="M1 8h10c10 0 6 16 20 16v5H1z"/><circle fill="${colour}" cx="25" cy="8" r="7"/>`;
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${mark}</svg>`)}`;
}
