// The ladder of bench.imaging by sharp: `node ladder.js per-size` or `cascade`; a JSON object a line, in and out.
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.cache(false);
sharp.concurrency(1);

// What Spillway's encoders do, so that sizes and effort are alike; WebP's effort is sharp's own.
const ENCODERS = {
  jpeg: (image, quality) => image.jpeg({ quality, optimiseCoding: false }),
  webp: (image, quality) => image.webp({ quality }),
  png: (image) => image.png({ compressionLevel: 1 }),
};
const box = (side) => [side, side, { fit: "inside", withoutEnlargement: true }];

async function perSize(source, variants) {
  for (const { side, format, quality, path } of variants) {
    await ENCODERS[format](sharp(source).rotate().resize(...box(side)), quality).toFile(path);
  }
}

async function cascade(source, variants) {
  let image = sharp(source).rotate();
  for (const { side, format, quality, path } of variants) {
    const { data, info } = await image.resize(...box(side)).raw().toBuffer({ resolveWithObject: true });
    image = sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
    await ENCODERS[format](image.clone(), quality).toFile(path);
  }
}

const field = (name) => 1024 * Number(readFileSync("/proc/self/status", "utf8").match(`${name}:\\s*(\\d+)`)[1]);

const make = { "per-size": perSize, cascade }[process.argv[2]];
console.log(JSON.stringify({ missing: false }));
for await (const line of createInterface({ input: process.stdin })) {
  const { source, variants } = JSON.parse(line);
  writeFileSync("/proc/self/clear_refs", "5");
  const before = field("VmRSS");
  const began = process.cpuUsage();
  try {
    await make(source, variants);
    const { user, system } = process.cpuUsage(began);
    const peak = (field("VmHWM") - before) / 1e6;
    console.log(JSON.stringify({ cpu_ms: (user + system) / 1000, peak_mb: peak }));
  } catch (error) {
    console.log(JSON.stringify({ failed: String(error.message).split("\n")[0] }));
  }
}
