"""How much of the subject `cover-smart` keeps, beside a cut from the middle, and how long it takes.

    python -m bench.crops [--scenes 200] [--show FILE] [--photos FILE] [--json FILE]

Scenes are made here: backgrounds of several kinds, with a drawn face or an object near one end of the longer
side. Each is cut to a square. `kept` is the mean share of the subject's area that is in the cut, of what
could be; `whole` is the share of scenes of which at least 90 % is. `--show` draws some cuts, to be looked at.

`--photos` is a JSON file with photos of one's own: by their paths, the left, top, right and bottom edge of
what each is of, as shares of its width and height. Each is taken whole, and cut so that its subject is near
each side, and from all five pictures parts of five shapes are cut.
"""

import json
import random
import time
from pathlib import Path

from PIL import Image, ImageOps

from bench.rig import Report, median, options
from tests.samples.scenes import SUBJECTS, Scene, make_scene
from workers.shapes import Rect, cut_size, place
from workers.small_picture import make_small_picture
from workers.smart_crop import find_richest
from workers.variants import Fit, Variant

_SQUARE = Variant("square", 96, 96, Fit.SMART)
_SHAPES = (
    _SQUARE,
    *(Variant("shape", *box, Fit.SMART) for box in ((160, 90), (90, 160), (90, 120), (300, 100))),
)
_MARGIN = 0.02
"""Share of the width and height between a photo's subject and the side that it is moved to."""
_PHOTO_SIDE = 1200
_SHOWN = 24


def kept(cut: Rect, subject: Rect) -> float:
    """The share of the subject that is in the cut, of as much as a cut of this size can have."""
    possible = min(cut.width, subject.width) * min(cut.height, subject.height)
    across = min(cut.left + cut.width, subject.left + subject.width) - max(cut.left, subject.left)
    down = min(cut.top + cut.height, subject.top + subject.height) - max(cut.top, subject.top)
    return max(0, across) * max(0, down) / possible


def cuts(scene: Scene, variant: Variant = _SQUARE) -> dict[str, tuple[Rect, float]]:
    """The cut of a scene in the shape of `variant` by each fit, and the CPU which that took, in ms."""
    size = scene.image.size
    part = cut_size(variant, size)
    began = time.thread_time()
    smart = find_richest(make_small_picture(scene.image, {}, 1), size, part)
    used = 1000 * (time.thread_time() - began)
    return {"cover-smart": (smart, used), "cover-center": (place(Fit.COVER, size, part), 0.0)}


def marked_photos(path: Path) -> list[Scene]:
    """The pictures that are made of the photos in a file of marks."""
    found = []
    for name, marks in json.loads(path.read_text()).items():
        with Image.open(path.parent / name) as photo:
            image = ImageOps.exif_transpose(photo).convert("RGB")
        image.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
        width, height = image.size
        left, top, right, bottom = marks
        near = (
            max(0.0, left - _MARGIN),
            max(0.0, top - _MARGIN),
            min(1.0, right + _MARGIN),
            min(1.0, bottom + _MARGIN),
        )
        whole = (0.0, 0.0, 1.0, 1.0)
        windows = [whole, *((*whole[:side], near[side], *whole[side + 1 :]) for side in range(4))]
        for window in windows:
            box = [round(edge * length) for edge, length in zip(window, (width, height) * 2, strict=True)]
            edges = [round(edge * length) for edge, length in zip(marks, (width, height) * 2, strict=True)]
            subject = Rect(edges[0] - box[0], edges[1] - box[1], edges[2] - edges[0], edges[3] - edges[1])
            found.append(Scene(image.crop((box[0], box[1], box[2], box[3])), subject))
    return found


def add_rows(report: Report, subject: str, made: list[tuple[Scene, dict[str, tuple[Rect, float]]]]) -> None:
    """A row for each fit."""
    for fit in ("cover-smart", "cover-center"):
        shares = [kept(by_fit[fit][0], scene.subject) for scene, by_fit in made]
        report.add(
            subject=subject,
            fit=fit,
            cuts=len(made),
            kept=sum(shares) / len(shares),
            whole=sum(share >= 0.9 for share in shares) / len(shares),
            cpu_ms=median([by_fit[fit][1] for _, by_fit in made]),
        )


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
    parser.add_argument("--photos", type=Path, help="a file with photos and where their subjects are")
    parser.add_argument("--show", type=Path, help="draw some cuts into this file")
    chosen = parser.parse_args()
    report = Report("bench.crops")
    shown: list[Scene] = []
    for subject in SUBJECTS:
        scenes = [make_scene(random.Random(f"{subject}{index}"), subject) for index in range(chosen.scenes)]  # noqa: S311
        shown += scenes[: _SHOWN // len(SUBJECTS)]
        add_rows(report, subject, [(scene, cuts(scene)) for scene in scenes])
    if chosen.photos:
        photos = marked_photos(chosen.photos)
        shown += photos
        add_rows(report, "photo", [(photo, cuts(photo, shape)) for photo in photos for shape in _SHAPES])
    if chosen.show:
        show(shown, chosen.show)
    report.notes.append(
        f"{chosen.scenes} scenes of each kind; the time is that of the small copy and the search."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
