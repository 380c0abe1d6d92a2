import { at } from "./address.js";
import { write } from "./format.js";

// The server's statistics as an event stream, closed while the page is hidden: a forgotten tab costs nothing.

const line = document.getElementById("live");

export function follow(show, onLost) {
  let source = null;
  let timer = 0;

  const mark = (name, text) => {
    line.className = `live ${name}`;
    write(line, text);
  };

  function open() {
    clearTimeout(timer);
    source?.close();
    source = new EventSource(at("v1/stats/stream"));
    source.addEventListener("stats", (event) => {
      mark("on", "live");
      show(JSON.parse(event.data));
    });
    source.onerror = () => {
      mark("off", "reconnecting");
      onLost();
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, 3000);
    };
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    mark("", "paused");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  // A page in the back/forward cache would otherwise hold its connection.
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  if (!document.hidden) open();
}
