import { at } from "./address.js";
import { write } from "./format.js";

// The server's statistics as an event stream, closed while the page is hidden: a forgotten tab costs nothing.

const line = document.getElementById("live");
const STALE_MS = 3000;

export function follow(show, onLost) {
  let source = null;
  let timer = 0;
  let stale = 0;

  const mark = (name, text) => {
    line.className = `live ${name}`;
    write(line, text);
  };

  // The figures that are shown are old, and are said to be.
  function lost() {
    mark("off", navigator.onLine ? "no contact with the server" : "offline");
    onLost();
  }

  function open() {
    clearTimeout(timer);
    source?.close();
    source = new EventSource(at("v1/stats/stream"));
    source.addEventListener("stats", (event) => {
      mark("on", line.dataset.on ?? "live");
      clearTimeout(stale);
      stale = setTimeout(lost, STALE_MS);
      show(JSON.parse(event.data));
    });
    source.onerror = () => {
      lost();
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 3000);
    };
  }

  function close() {
    clearTimeout(timer);
    clearTimeout(stale);
    source?.close();
    mark("", "paused");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("offline", lost);
  addEventListener("online", () => document.hidden || open());
  // A page in the back/forward cache would otherwise hold its connection.
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  if (!document.hidden) open();
}
