"""What one more variant costs, by its shape: CPU of making the default variants of 12 MP, and that one.

    python -m bench.shapes [--rounds 7] [--source jpeg] [--json FILE]

In one warm process, the sets alternating.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from app.settings import Settings
from bench.photos import photo_file
from bench.resizers import spillway
from bench.rig import Report, median, options
from workers.codecs import load_codecs
from workers.variants import read_specs

_MEGAPIXELS = 12
_DEFAULTS = tuple(variant.spec for variant in Settings.model_fields["variants"].default)
_FITS = ("top", "left", "right", "bottom", "center")
_SETS = {
    "default variants": _DEFAULTS,
    "and 256": (*_DEFAULTS, "more=256"),
    "and 256x256/cover": (*_DEFAULTS, "more=256x256/cover"),
    "and 256x256/cover-smart": (*_DEFAULTS, "more=256x256/cover-smart"),
    "and five covers": (*_DEFAULTS, *(f"{fit}=256x256/cover-{fit}" for fit in _FITS)),
    "256 alone": ("more=256",),
    "256x256/cover alone": ("more=256x256/cover",),
    "256x256/cover-smart alone": ("more=256x256/cover-smart",),
}


def main() -> None:
    """Make all sets in turn, and report medians."""
    parser = options(__doc__, rounds=7)
    parser.add_argument("--source", default="jpeg", help="format of the photo: jpeg, png, webp (%(default)s)")
    chosen = parser.parse_args()
    load_codecs()
    report = Report("bench.shapes")
    used: dict[str, list[float]] = {name: [] for name in _SETS}
    with TemporaryDirectory(prefix="spillway-bench-") as name:
        folder = Path(name)
        source = photo_file(folder, chosen.source, _MEGAPIXELS)
        for _ in range(chosen.rounds + 1):
            for what, specs in _SETS.items():
                began = time.process_time()
                spillway(source, folder, read_specs(specs))
                used[what].append(1000 * (time.process_time() - began))
    for what, times in used.items():
        report.add(made=what, cpu_ms=median(times[1:]))
    report.notes.append(f"Medians of {chosen.rounds} rounds; a first one warms up.")
    report.show(chosen.json)


if __name__ == "__main__":
    main()
