// Changes the document only if the text differs: an unchanged live region is not read out again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function size(amount) {
  if (amount < 1024) return `${amount} bytes`;
  const kib = amount / 1024;
  return kib < 1024 ? `${kib.toFixed(0)} KiB` : `${(kib / 1024).toFixed(kib < 10240 ? 1 : 0)} MiB`;
}

export function duration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

export function sides({ width, height }) {
  return `${width} × ${height}`;
}
