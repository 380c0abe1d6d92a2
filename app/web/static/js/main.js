import { refresh, retune } from "./bucket.js";
import { Gallery } from "./gallery.js";
import { openIntake } from "./intake.js";
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
  if (snapshot.demo) retune(snapshot.demo.levers);
  document.dispatchEvent(new CustomEvent("stats", { detail: snapshot }));
}

sender.addEventListener("answer", refresh);
openIntake(document.getElementById("drop"), (files) => gallery.add(files));
keepInSight();
refresh();
follow(show, () => showMood("away"));
gallery.restore();
