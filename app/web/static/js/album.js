import { at } from "./address.js";

// An album: photos that an address names behind its #, 16 bytes each in base64url. The server is not told of it.

const KEY = "#album=";
const sizes = JSON.parse(document.getElementById("drop").dataset.variants); // names, the widest first
const TILE_PX = 300;

const bytesOf = (id) => id.match(/../g).map((pair) => Number.parseInt(pair, 16));
const idOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function albumLink(ids) {
  const packed = btoa(String.fromCharCode(...ids.flatMap(bytesOf))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${location.href.split("#")[0]}${KEY}${packed}`;
}

// The ids of the album that this address names, or null if it names none.
export function albumIds() {
  if (!location.hash.startsWith(KEY)) return null;
  try {
    const bytes = Uint8Array.from(atob(location.hash.slice(KEY.length).replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return Array.from({ length: Math.floor(bytes.length / 16) }, (_, index) => idOf(bytes.subarray(16 * index, 16 * index + 16)));
  } catch {
    return [];
  }
}

// Shows the photos alone, each by the size that fits a tile; one that was not made in that size by the next that was.
export function showAlbum(ids) {
  document.body.classList.add("album");
  document.getElementById("upload-title").textContent = ids.length === 1 ? "A photo" : `${ids.length} photos`;
  document.getElementById("grid").replaceChildren(...ids.map(picture));
}

function picture(id, index) {
  const fitting = sizes.toSorted(([, a], [, b]) => (a >= TILE_PX ? 0 : 1) - (b >= TILE_PX ? 0 : 1) || Math.abs(a - TILE_PX) - Math.abs(b - TILE_PX));
  const names = fitting.map(([name]) => name);
  const image = Object.assign(new Image(), { loading: "lazy", decoding: "async", alt: `Photo ${index + 1}` });
  const link = Object.assign(document.createElement("a"), { target: "_blank", rel: "noopener", href: at(`v1/images/${id}/${sizes[0][0]}`) });
  const item = document.createElement("li");
  const next = () => {
    const name = names.shift();
    if (name) image.src = at(`v1/images/${id}/${name}`);
    else item.classList.add("gone");
  };
  image.addEventListener("error", next);
  image.addEventListener("load", () => names.length < sizes.length - 1 && (link.href = image.src));
  next();
  link.append(image);
  item.append(link);
  return item;
}
