import { best } from "./cascade.js";

// The photos that are done, as a grid, the newest first. A tile is three elements, so that a thousand stay light.

const TILE_PX = 300;

export class Tiles {
  #tiles = new Map();

  constructor(grid, open) {
    this.grid = grid;
    grid.addEventListener("click", ({ target }) => {
      const tile = target.closest("button")?.parentElement;
      if (tile) open(tile.photo);
    });
  }

  get photos() {
    return [...this.grid.children].map(({ photo }) => photo);
  }

  has(photo) {
    return this.#tiles.has(photo);
  }

  add(photo) {
    const tile = document.createElement("li");
    const image = Object.assign(new Image(), { loading: "lazy", decoding: "async", alt: photo.name, src: best(photo, TILE_PX) });
    const button = Object.assign(document.createElement("button"), { type: "button", title: photo.name });
    button.append(image);
    tile.append(button);
    tile.photo = photo;
    this.#tiles.set(photo, tile);
    const after = [...this.grid.children].find((other) => other.photo.order < photo.order);
    this.grid.insertBefore(tile, after ?? null);
  }

  remove(photo) {
    const tile = this.#tiles.get(photo);
    if (!tile) return;
    const next = tile.nextElementSibling ?? tile.previousElementSibling;
    if (tile.contains(document.activeElement) || document.activeElement === document.body) (next?.firstElementChild ?? document.getElementById("main")).focus();
    tile.remove();
    this.#tiles.delete(photo);
  }

  // The photo before or after this one in the grid.
  beside(photo, step) {
    const tile = this.#tiles.get(photo);
    return (step < 0 ? tile?.previousElementSibling : tile?.nextElementSibling)?.photo;
  }
}
