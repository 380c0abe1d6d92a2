import { reconfigure, refresh } from "./bucket.js";
import { listenForFiles } from "./file-input.js";
import { Gallery } from "./gallery.js";
import { showMinute } from "./minute.js";
import { moodOf, showMood } from "./mood.js";
import { showPath } from "./path.js";
import { keepInSight } from "./section.js";
import { Sender } from "./sender.js";
import { follow } from "./stats.js";
import { Watcher } from "./watch.js";

const sender = new Sender();
const gallery = new Gallery(document.getElementById("photos"), sender, new Watcher());

function show(snapshot) {
  showPath(snapshot);
  showMinute(snapshot.minute);
  showMood(moodOf(snapshot));
  if (snapshot.demo) reconfigure(snapshot.demo.levers);
  document.dispatchEvent(new CustomEvent("stats", { detail: snapshot }));
}

sender.addEventListener("answer", refresh);
listenForFiles(document.getElementById("drop"), (files) => gallery.add(files));
keepInSight();
refresh();
follow(show, () => showMood("away"));
gallery.restore();
