import { reconfigure } from "./bucket.js";
import { showMinute } from "./minute.js";
import { moodOf, showMood } from "./mood.js";
import { showPath } from "./path.js";
import { keepInSight } from "./section.js";
import { follow } from "./stats.js";
import { showStrips } from "./strips.js";
import { compare } from "./twin.js";
import { flow } from "./weir.js";

// The figures of the server. Uploads do not need them, so this is a script of its own, whose failure leaves those alone.

function show(snapshot) {
  showPath(snapshot);
  showMinute(snapshot.minute);
  showStrips(snapshot);
  compare(snapshot);
  flow(snapshot);
  showMood(moodOf(snapshot));
  if (snapshot.demo) reconfigure(snapshot.demo.levers);
  document.dispatchEvent(new CustomEvent("stats", { detail: snapshot }));
}

keepInSight();
follow(show, () => showMood("away"));
