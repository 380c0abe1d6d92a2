import { best, isProvisional } from "./cascade.js";

// The photos that are done, as a grid, the newest first. A tile is three elements, so that a thousand stay light.

const TILE_PX = 300;

// Shows the picture that is best by now, which changes while sizes put off are made.
function draw(tile, image, button) {
  if (!tile.photo.shown) return;
  const forNow = isProvisional(tile.photo);
  const address = best(tile.photo, TILE_PX);
  if (image.getAttribute("src") !== address) image.src = address;
  tile.className = forNow ? "provisional" : "";
  button.title = forNow ? `${tile.photo.name}: the thumbnail in the photo, for now` : tile.photo.name;
}

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
    const image = Object.assign(new Image(), { loading: "lazy", decoding: "async", alt: photo.name });
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(image);
    tile.append(button);
    tile.photo = photo;
    tile.draw = () => draw(tile, image, button);
    tile.draw();
    photo.addEventListener("change", tile.draw);
    this.#tiles.set(photo, tile);
    const after = [...this.grid.children].find((other) => other.photo.order < photo.order);
    this.grid.insertBefore(tile, after ?? null);
  }

  remove(photo) {
    const tile = this.#tiles.get(photo);
    if (!tile) return;
    photo.removeEventListener("change", tile.draw);
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
