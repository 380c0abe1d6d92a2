"""CPU, memory and quality of making the default variants, beside libvips, sharp and Pillow's own limit.

    python -m bench.imaging [--quick] [--rounds 5] [--sources 12mp.jpeg,…] [--out jpeg,webp,…] [--json FILE]

Each resizer (`bench/resizers.py`, and sharp in Node) has a process of its own with one thread, and they
alternate photo by photo. libvips is measured where pyvips is installed (`make environment-bench`), sharp
where Node and its packages are (npm ci --prefix bench/baselines/sharp). CPU is that of a warm process; memory
is what the first photo takes in a fresh process. SSIM and PSNR compare with a full decode and LANCZOS in
floats (`bench/quality.py`): once of the scaling alone, with variants written as PNG, and once of what is
served, at the default quality, where the codec's loss is included.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from app.settings import Settings
from bench.photos import photo_file
from bench.quality import Pixels, psnr, reference, ssim, ssim_rgb
from bench.resizers import MAKERS
from bench.rig import ROOT, Report, median, options
from workers.codecs import load_codecs
from workers.encode import file_name
from workers.shapes import output_size
from workers.variants import Variant

SOURCES = tuple(f"{size}mp.{format_}" for size in (2, 12, 48) for format_ in ("jpeg", "png", "webp", "heic"))
_QUICK = ("2mp.jpeg", "12mp.jpeg")
_LADDER: tuple[Variant, ...] = tuple(
    sorted(Settings.model_fields["variants"].default, key=lambda one: one.area, reverse=True)
)
_SHARP = ROOT / "bench" / "baselines" / "sharp"
_IN_NODE = {"sharp-cascade": "cascade", "sharp-per-size": "per-size"}
_USUAL = ("spillway", "limit", "libvips-cascade", "libvips-per-size", *_IN_NODE)
_ONE_THREAD = {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Resizer:
    """One way of making variants, in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self.missing = bool(self._answer().get("missing", True))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": "it died"}

    def ladder(self, source: Path, folder: Path, variants: Sequence[Variant]) -> dict[str, Any]:
        """Make `variants`, largest first: CPU milliseconds and megabytes, or why it could not."""
        assert self._process.stdin is not None
        wanted = [
            {
                "name": each.name,
                "spec": each.spec,
                "side": each.width,
                "format": each.format,
                "quality": each.quality,
                "path": str(folder / file_name(each)),
            }
            for each in variants
        ]
        request = {"source": str(source), "folder": str(folder), "variants": wanted}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()


@contextmanager
def resizer(name: str) -> Iterator[Resizer]:
    """A process for one of `MAKERS`, or for sharp."""
    command = [sys.executable, "-m", "bench.resizers", name]
    if name in _IN_NODE:
        node = shutil.which("node") if (_SHARP / "node_modules" / "sharp").exists() else None
        command = [node, str(_SHARP / "ladder.js"), _IN_NODE[name]] if node else ["false"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | _ONE_THREAD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        yield Resizer(name, process)
        assert process.stdin is not None
        process.stdin.close()


def first_peak(name: str, source: Path, folder: Path, variants: Sequence[Variant]) -> float | None:
    """Megabytes above what a fresh process had."""
    with resizer(name) as fresh:
        peak = fresh.ladder(source, folder, variants).get("peak_mb")
        return None if peak is None else float(peak)


def quality(
    folder: Path, variants: Sequence[Variant], wanted: Sequence[Pixels]
) -> tuple[float, float, float]:
    """Of the files of `variants`: SSIM of the largest, least SSIM of the others, least PSNR."""
    scores, noise = [], []
    for variant, pixels in zip(variants, wanted, strict=True):
        with Image.open(folder / file_name(variant)) as made:
            scores.append(ssim(made, pixels))
            noise.append(psnr(made, pixels))
    return scores[0], min(scores[1:]), min(noise)


def measure(
    source: Path, resizers: Sequence[Resizer], rounds: int, folder: Path, format_: str
) -> list[dict[str, Any]]:
    """A row for each resizer that can read this source; variants are written as `format_`."""
    with Image.open(source) as image:
        whole = image.convert("RGB")
    wanted = [reference(whole, output_size(each, whole.size)) for each in _LADDER]
    ladder = [replace(each, format=format_) for each in _LADDER]
    lossless = [replace(each, format="png") for each in _LADDER]
    able = [each for each in resizers if "failed" not in each.ladder(source, folder, ladder)]
    times: dict[str, list[float]] = {each.name: [] for each in able}
    for _ in range(rounds):
        for each in able:
            times[each.name].append(each.ladder(source, folder, ladder)["cpu_ms"])
    ours = times["spillway"]
    rows = []
    for each in able:
        row: dict[str, Any] = {"source": source.name.removeprefix("photo-"), "out": format_, "by": each.name}
        row["ours_is"] = median([a / b for a, b in zip(ours, times[each.name], strict=True)])
        row["cpu_ms"] = median(times[each.name])
        if each.name != "limit":
            row["peak_mb"] = first_peak(each.name, source, folder, ladder)
            each.ladder(source, folder, lossless)
            row["ssim_large"], row["ssim_others"], row["psnr_db"] = quality(folder, lossless, wanted)
            with Image.open(folder / file_name(lossless[0])) as made:
                row["rgb_large"] = ssim_rgb(made, wanted[0])
            each.ladder(source, folder, ladder)
            row["bytes"] = sum((folder / file_name(variant)).stat().st_size for variant in ladder)
            row["served_large"], row["served_others"], row["served_db"] = quality(folder, ladder, wanted)
        rows.append(row)
    return rows


def main() -> None:
    """Measure every source, alternating, and report medians."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--quick", action="store_true", help=f"one round of {', '.join(_QUICK)}")
    parser.add_argument(
        "--sources", default=",".join(SOURCES), help="photos to make and measure (%(default)s)"
    )
    parser.add_argument("--out", default="jpeg", help="formats of the variants, of jpeg, webp, avif, png")
    usual = ",".join(_USUAL)
    parser.add_argument("--by", default=usual, help=f"of {', '.join((*MAKERS, *_IN_NODE))} (%(default)s)")
    parser.add_argument("--photos", type=Path, help="a folder to keep the photos in, and to find them again")
    chosen = parser.parse_args()
    sources, rounds = (_QUICK, 1) if chosen.quick else (chosen.sources.split(","), chosen.rounds)
    load_codecs()
    report = Report("bench.imaging")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spillway-bench-")))
        started = [stack.enter_context(resizer(name)) for name in chosen.by.split(",")]
        present = [each for each in started if not each.missing]
        for name in sources:
            megapixels, _, kind = name.partition("mp.")
            source = (chosen.photos or folder) / f"photo-{name}"
            if not source.exists():
                source = photo_file(source.parent, kind, int(megapixels))
            for format_ in chosen.out.split(","):
                for row in measure(source, present, rounds, folder, format_):
                    report.add(**row)
    absent = [each.name for each in started if each.missing]
    if absent:
        report.notes.append(f"Not installed: {', '.join(absent)}.")
    report.notes.append(
        f"Ladder {','.join(each.spec for each in _LADDER)}; medians of {rounds} photos. "
        "'ours is': CPU of spillway as a share of that row's. 'ssim', 'rgb', 'psnr': of the scaling alone. "
        "'served': at the ladder's own quality. No row: that one does not read the format."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
