// Plays recorded statistics in the scripts of the service's page, which see them as the events of the server's stream.

const PERIOD_MS = 1000;
const clock = document.getElementById("clock");
document.getElementById("live").dataset.on = "a recording";
const packed = await fetch("crowd.json.gz");
const snapshots = await new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).json();
let position = 0;

// In place of the browser's EventSource. A page that was hidden opens another one, which goes on where that one stopped.
globalThis.EventSource = class extends EventTarget {
  #timer = setInterval(() => this.#next(), PERIOD_MS);

  constructor() {
    super();
    setTimeout(() => this.#next());
  }

  close() {
    clearInterval(this.#timer);
  }

  #next() {
    const snapshot = snapshots[position];
    clock.textContent = snapshot.demo.last?.people ?? `Second ${position + 1} of ${snapshots.length}.`;
    this.dispatchEvent(new MessageEvent("stats", { data: JSON.stringify(snapshot) }));
    position = (position + 1) % snapshots.length;
  }
};
await import("../../app/web/static/js/live.js");
