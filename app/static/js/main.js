import { refresh } from "./bucket.js";
import { Gallery } from "./gallery.js";
import { openIntake } from "./intake.js";
import { showPath } from "./path.js";
import { keepInSight } from "./section.js";
import { Sender } from "./sender.js";
import { follow } from "./stats.js";
import { Watcher } from "./watch.js";

const sender = new Sender();
const gallery = new Gallery(document.getElementById("photos"), sender, new Watcher());

sender.addEventListener("answer", refresh);
openIntake(document.getElementById("drop"), (files) => gallery.add(files));
keepInSight();
refresh();
follow(showPath);
gallery.restore();
