"""How much of the subject `cover-smart` keeps, beside a cut from the middle, and how long it takes.

    python -m bench.crops [--scenes 200] [--show FILE] [--json FILE]

Scenes are made here: backgrounds of several kinds, with a drawn face or an object near one end of the longer
side. Each is cut to a square. `kept` is the mean share of the subject's area that is in the cut, of what
could be; `whole` is the share of scenes of which at least 90 % is. `--show` draws some cuts, to be looked at.
"""

import random
import time
from pathlib import Path

from PIL import Image

from bench.rig import Report, median, options
from tests.samples.scenes import SUBJECTS, Scene, make_scene
from workers.shapes import Rect, cut_size, place
from workers.small_picture import make_small_picture
from workers.smart_crop import find_richest
from workers.variants import Fit, Variant

_SQUARE = Variant("square", 96, 96, Fit.SMART)
_SHOWN = 24


def kept(cut: Rect, subject: Rect) -> float:
    """The share of the subject that is in the cut, of as much as a cut of this size can have."""
    possible = min(cut.width, subject.width) * min(cut.height, subject.height)
    across = min(cut.left + cut.width, subject.left + subject.width) - max(cut.left, subject.left)
    down = min(cut.top + cut.height, subject.top + subject.height) - max(cut.top, subject.top)
    return max(0, across) * max(0, down) / possible


def cuts(scene: Scene) -> dict[str, tuple[Rect, float]]:
    """The square cut of a scene by each fit, and the milliseconds of CPU which that took."""
    size = scene.image.size
    part = cut_size(_SQUARE, size)
    began = time.thread_time()
    smart = find_richest(make_small_picture(scene.image, {}, 1), size, part)
    used = 1000 * (time.thread_time() - began)
    return {"cover-smart": (smart, used), "cover-center": (place(Fit.COVER, size, part), 0.0)}


def show(scenes: list[Scene], path: Path) -> None:
    """Draw scenes, each above its two cuts."""
    sheet = Image.new("RGB", (8 * 200, -(-len(scenes) // 8) * 250), "black")
    for index, scene in enumerate(scenes):
        left, top = index % 8 * 200, index // 8 * 250
        small = scene.image.copy()
        small.thumbnail((190, 140))
        sheet.paste(small, (left, top))
        for number, (cut, _) in enumerate(cuts(scene).values()):
            box = (cut.left, cut.top, cut.left + cut.width, cut.top + cut.height)
            sheet.paste(scene.image.resize((90, 90), box=box), (left + 95 * number, top + 145))
    sheet.save(path)


def main() -> None:
    """Cut all scenes, and report."""
    parser = options(__doc__, rounds=1)
    parser.add_argument("--scenes", type=int, default=200, help="of each kind (%(default)s)")
    parser.add_argument("--show", type=Path, help="draw some cuts into this file")
    chosen = parser.parse_args()
    report = Report("bench.crops")
    shown: list[Scene] = []
    for subject in SUBJECTS:
        scenes = [make_scene(random.Random(f"{subject}{index}"), subject) for index in range(chosen.scenes)]  # noqa: S311
        shown += scenes[: _SHOWN // len(SUBJECTS)]
        made = [(scene, cuts(scene)) for scene in scenes]
        for fit in ("cover-smart", "cover-center"):
            shares = [kept(by_fit[fit][0], scene.subject) for scene, by_fit in made]
            report.add(
                subject=subject,
                fit=fit,
                kept=sum(shares) / len(shares),
                whole=sum(share >= 0.9 for share in shares) / len(shares),
                cpu_ms=median([by_fit[fit][1] for _, by_fit in made]),
            )
    if chosen.show:
        show(shown, chosen.show)
    report.notes.append(
        f"{chosen.scenes} scenes of each kind; the time is that of the small copy and the search."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
