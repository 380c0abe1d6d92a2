"""The resizers that `bench.imaging` compares, each in a process of its own.

    python -m bench.resizers NAME

Reads requests, one JSON object a line, and answers each with CPU milliseconds and peak memory. A process
serves many requests, so codecs are loaded and caches are warm, as in a worker. Each has one thread.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bench.rig import resident
from workers.codecs import load_codecs
from workers.encode import create_file, encode, file_name
from workers.imaging import create_files, make_variants
from workers.messages import Task
from workers.shapes import output_size
from workers.variants import Variant, read_specs

Maker = Callable[[Path, Path, Sequence[Variant]], None]
"""Makes every variant of a source into a folder; variants come largest first."""


def spillway(source: Path, folder: Path, variants: Sequence[Variant]) -> None:
    """The pipeline of Spillway's workers, in this process."""
    specs = tuple(variant.spec for variant in variants)
    task = Task("bench", str(source), str(folder), specs, 10**8, 60.0, 2**31)
    make_variants(task, create_files(task))


def pillow_naive(source: Path, folder: Path, variants: Sequence[Variant]) -> None:
    """Pillow as most code uses it: open, resize from the whole picture and save, once for each size."""
    for variant in variants:
        with Image.open(source) as image:
            image = image.convert("RGB")
            small = image.resize(output_size(variant, image.size), Image.Resampling.LANCZOS)
        create_file(folder / file_name(variant))
        encode(small, variant, folder / file_name(variant))


def libvips_per_size(source: Path, folder: Path, variants: Sequence[Variant]) -> None:
    """libvips as people use it: one `thumbnail` of the file for each size."""
    import pyvips

    for variant in variants:
        small = pyvips.Image.thumbnail(str(source), variant.width, height=variant.height, size="down")
        _save(small, variant, folder)


def libvips_cascade(source: Path, folder: Path, variants: Sequence[Variant]) -> None:
    """libvips tuned by hand: decoded once, each size from the next larger one, held in memory."""
    import pyvips

    image = None
    for variant in variants:
        box = {"height": variant.height, "size": "down"}
        if image is None:
            image = pyvips.Image.thumbnail(str(source), variant.width, **box)
        else:
            image = image.thumbnail_image(variant.width, **box)
        image = image.copy_memory()
        _save(image, variant, folder)


def _save(image: Any, variant: Variant, folder: Path) -> None:
    """Write a pyvips image as Spillway does: no metadata, chroma at half the resolution at any quality."""
    file = str(folder / file_name(variant))
    if variant.format == "jpeg":
        image.jpegsave(file, Q=variant.quality, keep="none", subsample_mode="on")
    elif variant.format == "webp":
        image.webpsave(file, Q=variant.quality, keep="none")
    else:
        image.pngsave(file, compression=1, keep="none")


def limit(source: Path, folder: Path, variants: Sequence[Variant]) -> None:
    """The lower bound of any pipeline on Pillow: decode once, encode pictures that were scaled before."""
    with Image.open(source) as image:
        image.draft("RGB", output_size(variants[0], image.size))
        image.load()
    for variant in variants:
        create_file(folder / file_name(variant))
        encode(_READY[variant.width], variant, folder / file_name(variant))


_READY: dict[int, Image.Image] = {}


def _prepare(source: Path, variants: Sequence[Variant]) -> None:
    """Scale the pictures that `limit` will encode, outside the measured time."""
    with Image.open(source) as image:
        rgb = image.convert("RGB")
    for variant in variants:
        _READY[variant.width] = rgb.resize(output_size(variant, rgb.size), Image.Resampling.LANCZOS)


MAKERS: dict[str, Maker] = {
    "spillway": spillway,
    "limit": limit,
    "libvips-cascade": libvips_cascade,
    "libvips-per-size": libvips_per_size,
    "pillow-naive": pillow_naive,
}


def _peak() -> int:
    """The most bytes resident since the kernel's high-water mark was reset (proc(5), clear_refs)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _loaded(name: str) -> None:
    load_codecs()
    if name.startswith("libvips"):
        import pyvips

        # Its cache would answer the second request for a file without doing any work.
        pyvips.cache_set_max(0)


def main() -> None:
    """Serve requests until the end of the input."""
    name = sys.argv[1]
    try:
        _loaded(name)
    except (ImportError, OSError):
        print(json.dumps({"missing": True}), flush=True)
        return
    print(json.dumps({"missing": False}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        source, folder = Path(request["source"]), Path(request["folder"])
        variants = read_specs(each["spec"] for each in request["variants"])
        if name == "limit":
            _prepare(source, variants)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark, see proc(5)
        before, began = resident(os.getpid()), time.process_time()
        try:
            MAKERS[name](source, folder, variants)
        except Exception as error:  # a format that it does not read
            print(json.dumps({"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}), flush=True)
            continue
        used = time.process_time() - began
        answer = {"cpu_ms": 1000 * used, "peak_mb": (_peak() - before) / 1e6}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
