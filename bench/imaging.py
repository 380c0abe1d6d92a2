"""CPU, memory and quality of one photo made into the default ladder, beside libvips and beside the limit.

    python -m bench.imaging [--rounds 5] [--sources 12mp.jpeg,…] [--json FILE]

Each way of doing it (`bench/resizers.py`) has a process of its own with one thread, and they take turns
photo by photo. libvips takes part where pyvips is installed (pip install "pyvips[binary]"). CPU is that of a
warm process; memory is what the first photo takes in a fresh process. SSIM and PSNR are against a full
decode and LANCZOS in floats (`bench/quality.py`): of the scaling, with variants written at JPEG quality 100,
and of what is served, at the ladder's own quality.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from app.settings import Settings
from bench.photos import photo_file
from bench.quality import Pixels, psnr, reference, ssim
from bench.resizers import MAKERS
from bench.rig import ROOT, Report, median, options
from workers.codecs import load_codecs
from workers.variants import Variant, fitted

SOURCES = ("2mp.jpeg", "12mp.jpeg", "48mp.jpeg", "12mp.png", "12mp.webp", "12mp.heic")
_LADDER: tuple[Variant, ...] = Settings.model_fields["variants"].default
_USUAL = ("spillway", "limit", "libvips-cascade", "libvips-per-size")
_ONE_THREAD = {"VIPS_CONCURRENCY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Resizer:
    """One of the ways, in its own process."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self.missing = bool(self._answer()["missing"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": "it died"}

    def ladder(self, source: Path, folder: Path, variants: Sequence[Variant]) -> dict[str, Any]:
        """Make the ladder: CPU milliseconds and megabytes, or why it could not."""
        assert self._process.stdin is not None
        specs = ",".join(variant.spec for variant in variants)
        request = {"source": str(source), "folder": str(folder), "variants": specs}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()


@contextmanager
def resizer(name: str) -> Iterator[Resizer]:
    """A process for one of `MAKERS`."""
    command = [sys.executable, "-m", "bench.resizers", name]
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


def first_peak(name: str, source: Path, folder: Path) -> float | None:
    """Megabytes above what a fresh process had."""
    with resizer(name) as fresh:
        peak = fresh.ladder(source, folder, _LADDER).get("peak_mb")
        return None if peak is None else float(peak)


def quality(folder: Path, wanted: dict[str, Pixels]) -> tuple[float, float, float]:
    """SSIM of the largest variant, lowest SSIM of the others and lowest PSNR of the files in a folder."""
    scores, noise = {}, []
    for name, pixels in wanted.items():
        with Image.open(folder / f"{name}.jpg") as made:
            scores[name] = ssim(made, pixels)
            noise.append(psnr(made, pixels))
    first, *others = scores.values()
    return first, min(others), min(noise)


def measure(source: Path, resizers: Sequence[Resizer], rounds: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each way of doing it that can read this source."""
    with Image.open(source) as image:
        whole = image.convert("RGB")
    wanted = {each.name: reference(whole, fitted(*whole.size, each.side)) for each in _LADDER}
    lossless = [Variant(each.name, each.side, quality=100) for each in _LADDER]
    able = [each for each in resizers if "failed" not in each.ladder(source, folder, _LADDER)]
    times: dict[str, list[float]] = {each.name: [] for each in able}
    for _ in range(rounds):
        for each in able:
            times[each.name].append(each.ladder(source, folder, _LADDER)["cpu_ms"])
    ours = times["spillway"]
    rows = []
    for each in able:
        row: dict[str, Any] = {"source": source.name.removeprefix("photo-"), "by": each.name}
        row["cpu_ms"] = median(times[each.name])
        row["ours_is"] = median([a / b for a, b in zip(ours, times[each.name], strict=True)])
        row["peak_mb"] = first_peak(each.name, source, folder) if each.name != "limit" else None
        if each.name != "limit":
            each.ladder(source, folder, lossless)
            row["ssim_large"], row["ssim_others"], row["psnr_db"] = quality(folder, wanted)
            each.ladder(source, folder, _LADDER)
            row["served_large"], row["served_others"], row["served_db"] = quality(folder, wanted)
        rows.append(row)
    return rows


def main() -> None:
    """Measure every source, alternating, and report medians."""
    parser = options(__doc__, rounds=5)
    parser.add_argument(
        "--sources", default=",".join(SOURCES), help="photos to make and measure (%(default)s)"
    )
    parser.add_argument("--by", default=",".join(_USUAL), help=f"of {', '.join(MAKERS)} (%(default)s)")
    chosen = parser.parse_args()
    load_codecs()
    report = Report("bench.imaging")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spillway-bench-")))
        started = [stack.enter_context(resizer(name)) for name in chosen.by.split(",")]
        present = [each for each in started if not each.missing]
        for name in chosen.sources.split(","):
            megapixels, _, format_ = name.partition("mp.")
            source = photo_file(folder, format_, int(megapixels))
            for row in measure(source, present, chosen.rounds, folder):
                report.add(**row)
            source.unlink()
    absent = [each.name for each in started if each.missing]
    if absent:
        report.notes.append(f"Not installed: {', '.join(absent)}.")
    report.notes.append(
        f"Ladder {','.join(each.spec for each in _LADDER)}; medians of {chosen.rounds} photos. "
        "'ours is': CPU of spillway as a share of that row's. 'served': at the ladder's own quality, where "
        "JPEG's loss is part of it. No row: that one does not read the format."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
