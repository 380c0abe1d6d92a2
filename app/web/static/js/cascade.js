import { at } from "./address.js";
import { copies } from "./copying.js";
import { sides, size } from "./format.js";

const template = document.getElementById("variant");
// A wider variant is shown by the next smaller one, so that a page of photos stays light on a phone.
const MAX_SHOWN_WIDTH = 900;

// Links to be copied are those of the job document; the page itself loads from where it is, as its policy demands.
const absolute = (url) => new URL(url, location.href).href;
// A provisional picture is asked for by another address, so that the browser has none in place of the true one.
const here = (photo, name) => at(`v1/images/${photo.id}/${name}${photo.job.variants[name].provisional ? "?provisional" : ""}`);
const bySize = (job) => Object.entries(job.variants ?? {}).toSorted(([, a], [, b]) => b.width * b.height - a.width * a.height);

// The address of the smallest variant that is at least so many pixels wide or high, else of the largest.
export function best(photo, pixels) {
  const variants = bySize(photo.job);
  const [name] = variants.findLast(([, { width, height }]) => Math.max(width, height) >= pixels) ?? variants[0];
  return here(photo, name);
}

// Whether a picture of it was made of the thumbnail in the photo, until the true one is made.
export const isProvisional = ({ job }) => Object.values(job.variants ?? {}).some(({ provisional }) => provisional);

// The name of the file in which the largest variant is kept.
export function nameOf({ name, job }) {
  const [[, { format }]] = bySize(job);
  return `${name.replace(/\.[^.]*$/, "")}.${format === "jpeg" ? "jpg" : format}`;
}

export function linkOf(photo) {
  return absolute(photo.job.url ?? bySize(photo.job)[0][1].url);
}

// Whether two variants show the same part of the photo; a side may be a pixel off by rounding. A browser takes any of
// a srcset for any other, and must not show a cut in place of the whole.
const alike = (one, other) =>
  Math.abs(one.width * other.height - other.width * one.height) <= Math.max(one.width, one.height, other.width, other.height);

// Of variants that are equally wide, because the photo is no wider, a browser needs one.
export function srcset(photo) {
  const [[, largest], ...others] = bySize(photo.job);
  const variants = [largest, ...others.map(([, variant]) => variant).filter((variant) => alike(variant, largest))];
  const widths = new Map(variants.toReversed().map((variant) => [variant.width, variant]));
  const all = [...widths.values()].toReversed().map((variant) => `${absolute(variant.url)} ${variant.width}w`).join(", ");
  const { url, width, height } = largest;
  return `<img srcset="${all}" sizes="100vw" src="${absolute(url)}" width="${width}" height="${height}" alt="">`;
}

// Adds the new variants, replaces provisional ones and leaves the others, so that pictures neither flicker nor lose the focus.
export function showVariants(list, photo) {
  const variants = bySize(photo.job);
  variants.forEach(([name, variant], index) => {
    const old = list.children[index];
    if (old?.dataset.variant === name && old.dataset.sha256 === variant.sha256) return;
    list.insertBefore(figure(photo, name, variant, variants), old ?? null);
    if (old?.dataset.variant === name) old.remove();
  });
  list.hidden = !variants.length;
}

function figure(photo, name, variant, all) {
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.variant = name;
  item.dataset.sha256 = variant.sha256;
  const link = item.querySelector("a");
  link.href = here(photo, name);
  const smaller = variant.width > MAX_SHOWN_WIDTH && all.find(([, other]) => other.width <= MAX_SHOWN_WIDTH && alike(other, variant));
  const image = item.querySelector("img");
  Object.assign(image, { width: variant.width, height: variant.height, alt: `${photo.name}, ${name}` });
  image.style.maxHeight = `${variant.height}px`;
  image.src = here(photo, smaller ? smaller[0] : name);
  item.querySelector("b").textContent = name;
  item.querySelector("span").textContent = `${sides(variant)} · ${size(variant.bytes)}${variant.provisional ? " · for now" : ""}`;
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Copy link to ${name} of ${photo.name}`);
  copies(button, () => absolute(variant.url));
  return item;
}
