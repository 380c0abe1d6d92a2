import { uploader } from "./client.js";
import { ticket } from "./ticket.js";

// Sends the photos of the page, by the client that other pages use too, and tells each photo what becomes of it.
export class Sender extends EventTarget {
  #photos = new Map();

  constructor() {
    super();
    uploader.ticket = ticket;
    uploader.addEventListener("change", ({ detail }) => this.#change(this.#photos.get(detail.key), detail));
    uploader.addEventListener("pause", () => this.dispatchEvent(new Event("pause")));
  }

  get paused() {
    return uploader.paused;
  }

  pause(paused) {
    uploader.pause(paused);
  }

  // The files that earlier visits left unsent, and with what options they are sent.
  unsent() {
    return uploader.unsent();
  }

  add(photo) {
    const { key, name, file, options } = photo;
    photo.stop = new AbortController();
    this.#photos.set(key, photo);
    uploader.upload(file, { ...options, key, name, keep: true, signal: photo.stop.signal }).catch(() => {}); // told by an event
  }

  drop(photo) {
    photo.dropped = true;
    this.#photos.delete(photo.key);
    photo.stop?.abort();
  }

  #change(photo, { answered, job, ...change }) {
    if (answered !== undefined) this.dispatchEvent(new Event("answer"));
    else if (!job) photo?.set(change);
    else if (photo) {
      this.#photos.delete(photo.key);
      Object.assign(photo, { token: job.delete_token, id: job.id, file: null });
      photo.update(job);
      this.dispatchEvent(new CustomEvent("accepted", { detail: photo }));
    }
  }
}
