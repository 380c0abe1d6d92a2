// An archive of files that are stored as they are, since photos do not get smaller (PKWARE APPNOTE 6.3). It is made piece
// by piece, so that a thousand photos need no memory where the browser can write to the disk.

const encoder = new TextEncoder();
const MAX_32 = 0xffffffff;

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  let crc = value;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc >>> 0;
});

function crc32(bytes) {
  let crc = MAX_32;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ MAX_32) >>> 0;
}

// Numbers in little endian, each as [value, bytes].
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, length]) => sum + length, 0)));
  let offset = 0;
  for (const [value, length] of fields) {
    if (length === 2) view.setUint16(offset, value, true);
    else view.setUint32(offset, value, true);
    offset += length;
  }
  return new Uint8Array(view.buffer);
}

// What both headers of a file say: version, flags (the name is UTF-8), stored, date, sum, sizes, and the name's length.
function described({ crc, size, name }) {
  return [[20, 2], [0x800, 2], [0, 2], [0, 2], [0x21, 2], [crc, 4], [size, 4], [size, 4], [name.length, 2], [0, 2]];
}

// The pieces of an archive of `files`, an iterable of promises of { name, bytes }. At most 65 535 files and 4 GiB.
export async function* zip(files) {
  const central = [];
  let offset = 0;
  for await (const { name: text, bytes } of files) {
    const entry = { name: encoder.encode(text), crc: crc32(bytes), size: bytes.length, offset };
    if (offset + bytes.length > MAX_32 || central.length === 0xffff) throw new RangeError("too much for one archive");
    const head = record([0x04034b50, 4], ...described(entry));
    yield head;
    yield entry.name;
    yield bytes;
    offset += head.length + entry.name.length + bytes.length;
    central.push(entry);
  }
  const start = offset;
  for (const entry of central) {
    const head = record([0x02014b50, 4], [20, 2], ...described(entry), [0, 2], [0, 2], [0, 2], [0, 4], [entry.offset, 4]);
    yield head;
    yield entry.name;
    offset += head.length + entry.name.length;
  }
  yield record([0x06054b50, 4], [0, 2], [0, 2], [central.length, 2], [central.length, 2], [offset - start, 4], [start, 4], [0, 2]);
}

// Names that are all different: a second photo.jpg becomes photo (2).jpg.
export function distinct() {
  const taken = new Map();
  return (name, suffix) => {
    const stem = name.replace(/\.[^.]*$/, "");
    const count = (taken.get(stem) ?? 0) + 1;
    taken.set(stem, count);
    return `${stem}${count > 1 ? ` (${count})` : ""}.${suffix}`;
  };
}
