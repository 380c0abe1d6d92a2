// Beside a long list of photos the path sticks with its lower end at the bottom of the window.

const section = document.getElementById("section");

function place() {
  const top = Math.min(24, innerHeight - section.offsetHeight - 24);
  section.style.setProperty("--sticky-top", `${top}px`);
}

export function keepInSight() {
  new ResizeObserver(place).observe(section);
  addEventListener("resize", place);
}
