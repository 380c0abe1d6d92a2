import { write } from "./format.js";
import { row } from "./row.js";

// The photos that are not done yet, those first of which something can be seen. Of many only the first are drawn.

const MAX_SHOWN = 12;
const RANKS = ["sending", "processing", "token", "refused", "degraded", "failed", "cancelled", "queued", "waiting", "restoring"];
const rank = (photo) => RANKS.indexOf(photo.state);

export class Rows {
  #shown = new Map();
  #rest = document.getElementById("rest");

  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
  }

  show(photos) {
    const sorted = photos.toSorted((a, b) => rank(a) - rank(b) || a.order - b.order);
    const first = new Set(sorted.slice(0, MAX_SHOWN));
    for (const [photo, { close }] of this.#shown) {
      if (first.has(photo)) continue;
      this.#passFocus(photo);
      close();
      this.#shown.delete(photo);
    }
    let place = this.list.firstElementChild;
    for (const photo of first) {
      if (!this.#shown.has(photo)) this.#shown.set(photo, row(photo, this.actions));
      const { item, draw } = this.#shown.get(photo);
      draw();
      if (item === place) place = place.nextElementSibling;
      // A row in use keeps its place: moved, it would lose the focus.
      else if (!item.isConnected || !item.contains(document.activeElement)) this.list.insertBefore(item, place);
    }
    this.#rest.hidden = sorted.length <= MAX_SHOWN;
    write(this.#rest, `and ${sorted.length - MAX_SHOWN} more that wait`);
  }

  #passFocus(photo) {
    const { item } = this.#shown.get(photo);
    if (item.contains(document.activeElement)) (item.nextElementSibling ?? item.previousElementSibling ?? document.getElementById("main")).focus();
  }
}
