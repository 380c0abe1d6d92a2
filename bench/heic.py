"""What could be saved when an HEIC photo is decoded: CPU of decoding 12 MP in one thread, in several ways.

    python -m bench.heic [--rounds 5] [--json FILE]

* `pillow_heif`: that is libheif with libde265, to RGB in Pillow's memory.
* `as a job does`: the same libraries called directly, to luma and chroma, without RGB and without copies.
* `unfiltered`: that without deblocking and SAO.
* `FFmpeg`: its decoder to planes, without and with its loop filters; needs the package `av`.

The photo is one picture, or tiles of 512 pixels as telephones make them, these also compressed strongly. SSIM
compares a picture of 1600 pixels with what comes of pillow_heif's.
"""

import ctypes
import functools
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import _pillow_heif
import numpy as np
import pillow_heif
from PIL import Image

from bench.photos import scene
from bench.quality import ssim
from bench.rig import Report, median, options
from workers import libheif
from workers.codecs import load_codecs
from workers.heic import decoded_planes
from workers.scaling import resize

try:
    import av
except ImportError:
    av = None

_MEGAPIXELS = 12
_PHOTOS = {
    "one picture": {"quality": 60, "tile_size": 0},
    "tiles": {"quality": 60, "tile_size": 512},
    "tiles, small file": {"quality": 35, "tile_size": 512},
}
"""How the photos are encoded."""
_LARGEST = 1600
_NO_DEBLOCKING, _NO_SAO = 7, 8
"""Parameters of libde265 (de265.h)."""


class Filters:
    """Whether libde265 deblocks and applies SAO; it does at first."""

    def __init__(self) -> None:
        self.on = True
        self._libraries = ctypes.CDLL(_pillow_heif.__file__)
        # Called for each picture, or tile, where libheif means to start threads: see workers/libheif.py.
        self._hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)(self._begin)
        hook = ctypes.cast(self._hook, ctypes.c_void_p).value or 0
        nothing = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
        for entry in libheif.find_entries(nothing):
            ctypes.c_size_t.from_address(entry).value = hook

    def _begin(self, decoder: int, _threads: int) -> int:
        for parameter in () if self.on else (_NO_DEBLOCKING, _NO_SAO):
            self._libraries.de265_set_parameter_bool(ctypes.c_void_p(decoder), parameter, 1)
        return 0


def _reduced(planes: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    return Image.merge("YCbCr", [resize(plane, size) for plane in planes]).convert("RGB")


def _by_pillow(path: Path) -> None:
    Image.open(path).load()


def _to_planes(data: bytes) -> None:
    with decoded_planes(data) as planes:
        if not planes:
            raise SystemExit("libheif did not decode the photo")


def _by_ffmpeg(data: bytes, skipped: str) -> None:
    """Decode every picture in the file, which has few pixels beside those of the photo."""
    with av.open(BytesIO(data)) as file:
        for stream in file.streams.video:
            stream.codec_context.options = {"threads": "1", "skip_loop_filter": skipped}
        for packet in file.demux():
            packet.decode()


def _photos() -> dict[str, bytes]:
    found = {}
    for name, given in _PHOTOS.items():
        file = BytesIO()
        pillow_heif.from_pillow(scene(_MEGAPIXELS)).save(file, **given)
        found[name] = file.getvalue()
    return found


def _cpu_ms(work: Callable[[], object], rounds: int) -> float:
    used = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        used.append(1000 * (time.process_time() - began))
    return median(used)


def main() -> None:
    """Decode each photo in each way, and report."""
    chosen = options(__doc__, rounds=5).parse_args()
    load_codecs()
    filters, report = Filters(), Report("bench.heic")
    with TemporaryDirectory(prefix="spillway-bench-") as folder:
        for name, data in _photos().items():
            path = Path(folder) / "photo.heic"
            path.write_bytes(data)
            filters.on = True
            whole = Image.open(path)
            whole.load()
            size = (_LARGEST, _LARGEST * whole.height // whole.width)
            wanted = np.asarray(resize(whole, size), np.float32)
            plain = _cpu_ms(functools.partial(_by_pillow, path), chosen.rounds)
            report.add(photo=name, way="pillow_heif", cpu_ms=plain, of_it=1.0, megabytes=len(data) / 1e6)
            for filters.on, way in ((True, "as a job does"), (False, "unfiltered")):
                cpu_ms = _cpu_ms(functools.partial(_to_planes, data), chosen.rounds)
                with decoded_planes(data) as planes:
                    likeness = ssim(_reduced(planes, size), wanted)
                report.add(photo=name, way=way, cpu_ms=cpu_ms, of_it=cpu_ms / plain, ssim=likeness)
            for skipped, way in (("default", "FFmpeg"), ("all", "FFmpeg, unfiltered")) if av else ():
                cpu_ms = _cpu_ms(functools.partial(_by_ffmpeg, data, skipped), chosen.rounds)
                report.add(photo=name, way=way, cpu_ms=cpu_ms, of_it=cpu_ms / plain)
    report.notes.append(f"Medians of {chosen.rounds} rounds in one warm process.")
    report.show(chosen.json)


if __name__ == "__main__":
    main()
