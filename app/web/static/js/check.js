// Looks at a file before a token is spent on it: what the server would certainly refuse is told at once.

const { dataset } = document.getElementById("drop");
const maxBytes = Number(dataset.maxBytes);
const accepted = dataset.accepted;

const ascii = (bytes, start, end) => String.fromCharCode(...bytes.slice(start, end));
const BRANDS = new Set(["avif", "avis", "mif1", "msf1", "heic", "heix", "hevc", "hevx", "heim", "heis", "miaf"]);

function isImage(bytes) {
  const [a, b, c, d] = bytes;
  if (a === 0xff && b === 0xd8) return true;
  if (ascii(bytes, 1, 4) === "PNG" || ascii(bytes, 0, 3) === "GIF" || ascii(bytes, 0, 2) === "BM") return true;
  if (ascii(bytes, 0, 4) === "RIFF") return ascii(bytes, 8, 12) === "WEBP";
  if (ascii(bytes, 4, 8) === "ftyp") return BRANDS.has(ascii(bytes, 8, 12));
  return (a === 0x49 && b === 0x49 && (c === 42 || c === 43)) || (a === 0x4d && b === 0x4d && (d === 42 || d === 43));
}

// The problem with a file, or null. A file of which nothing can be read here is left to the server.
export async function problemOf(file) {
  if (!file.size) return { title: "This file is empty", type: "/problems/no-file" };
  if (file.size > maxBytes) return { title: "Too large", type: "/problems/too-large", detail: `Photos may have up to ${dataset.max}, this one has ${(file.size / 2 ** 20).toFixed(0)} MiB.` };
  let head;
  try {
    head = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  } catch {
    return { title: "This file cannot be read", detail: "Choose it again." };
  }
  return isImage(head) ? null : { title: "Not a photo", type: "/problems/unsupported-media-type", detail: `What is taken: ${accepted}.` };
}
