import { albumIds, showAlbum } from "./album.js";
import { refresh } from "./bucket.js";
import { listenForFiles } from "./file-input.js";
import { Gallery } from "./gallery.js";
import { Sender } from "./sender.js";
import { Watcher } from "./watch.js";

// Sending photos and following them. The form works without any script, and is taken over last: if a module is missing
// or fails, it stays what it was.

function upload() {
  const form = document.getElementById("drop");
  const sender = new Sender();
  const gallery = new Gallery(sender, new Watcher());
  sender.addEventListener("answer", refresh);
  gallery.restore();
  refresh();
  listenForFiles(form, (files) => gallery.add(files));
  form.classList.add("ready");
}

const album = albumIds();
if (album) showAlbum(album);
else upload();
addEventListener("hashchange", () => albumIds() && location.reload());
