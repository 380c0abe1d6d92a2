// Where the path comes to rest beside a long list of photos: with its end at the foot of the window.

const section = document.getElementById("section");

function settle() {
  const rest = Math.min(24, innerHeight - section.offsetHeight - 24);
  section.style.setProperty("--rest", `${rest}px`);
}

export function keepInSight() {
  new ResizeObserver(settle).observe(section);
  addEventListener("resize", settle);
}
