// The spillway, drawn: each request is a drop. It falls into the reservoir (accepted), bounces off (429), goes over the weir
// and is told when to return (503), or gets a small picture (200). Made photos leave below. Under many, a drop stands for several.

const canvas = document.getElementById("weir");
const context = canvas.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const WIDTH = 480;
const HEIGHT = 150;
const MAX_DROPS = 30; // a second, of each kind
const FLIGHT_MS = 1400;
const PATHS = {
  accepted: [[-8, 30], [120, 30], [200, 104]],
  429: [[-8, 30], [112, 30], [70, 10], [8, 140]],
  503: [[-8, 30], [150, 26], [330, 40], [372, 46], [440, 150]],
  degraded: [[-8, 30], [150, 20], [330, 30], [490, 60]],
  done: [[290, 132], [380, 136], [490, 140]],
};
const COLOURS = { accepted: "--glow", 429: "--ember", 503: "--ember", degraded: "--spray", done: "--glow" };

let drops = [];
let level = 0;
let frame = 0;
let overTold = "";

// Takes the figures of the last second.
export function flow({ minute, backlog }) {
  const second = Object.fromEntries(Object.keys(PATHS).map((kind) => [kind, minute[kind]?.at(-1) ?? 0]));
  level = Math.min(1.15, backlog.waiting / Math.max(1, backlog.capacity));
  overTold = second["503"] && backlog.estimated_wait_ms ? `back in about ${Math.max(1, Math.round(backlog.estimated_wait_ms / 1000))} s` : "";
  canvas.setAttribute("aria-label", `The last second: ${second.accepted} accepted, ${second["429"]} bounced off with 429, ${second["503"]} over the weir with 503, ${second.degraded} with a preview, ${second.done} done`);
  if (still.matches) drops = Object.entries(second).flatMap(([kind, count]) => spread(kind, count, (share) => ({ at: 0.15 + 0.85 * share })));
  else drops = [...drops, ...Object.entries(second).flatMap(([kind, count]) => spread(kind, count, (share) => ({ born: performance.now() + 1000 * share })))];
  frame ||= requestAnimationFrame(draw);
}

function spread(kind, count, place) {
  const shown = Math.min(count, MAX_DROPS);
  const radius = 2.4 + Math.log2(Math.max(1, count / MAX_DROPS));
  return Array.from({ length: shown }, (_, index) => ({ kind, radius, ...place((index + 0.5) / shown) }));
}

function along(path, share) {
  const at = share * (path.length - 1);
  const index = Math.min(path.length - 2, Math.floor(at));
  const part = at - index;
  const [[x0, y0], [x1, y1]] = [path[index], path[index + 1]];
  return [x0 + (x1 - x0) * part, y0 + (y1 - y0) * part ** 1.6];
}

function draw(now) {
  const ratio = devicePixelRatio || 1;
  const scale = (canvas.clientWidth / WIDTH) * ratio;
  const size = [Math.round(canvas.clientWidth * ratio), Math.round(HEIGHT * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  scene(colour);
  drops = drops.filter(({ born }) => born === undefined || now - born < FLIGHT_MS);
  for (const { kind, radius, born, at } of drops) {
    const share = at ?? (now - born) / FLIGHT_MS;
    if (share < 0) continue;
    const [x, y] = along(PATHS[kind], share);
    context.fillStyle = colour(COLOURS[kind]);
    if (kind === "degraded") context.fillRect(x - 4, y - 3, 8, 6);
    else {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }
  frame = !still.matches && drops.length && !document.hidden ? requestAnimationFrame(draw) : 0;
}

function scene(colour) {
  const water = 132 - 92 * Math.min(1, level);
  context.fillStyle = colour("--ripple");
  context.fillRect(150, water, 186, 140 - water); // the reservoir
  context.fillStyle = colour("--mist");
  context.fillRect(104, 38, 8, 102); // the bouncer
  context.fillRect(336, 40, 8, 84); // the weir
  context.fillRect(104, 140, 376, 3);
  context.font = "11px system-ui, sans-serif";
  context.fillText("bouncer", 62, 54);
  context.fillText("queue", 158, 156 - 18);
  context.fillText("weir", 350, 120);
  context.fillStyle = colour("--ember");
  context.fillText(overTold, 384, 24);
}

flow({ minute: {}, backlog: { waiting: 0, capacity: 1 } });
