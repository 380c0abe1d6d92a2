"""What could be saved when an HEIC photo is decoded: CPU of decoding 12 MP in one thread, in several ways.

    python -m bench.heic [--rounds 5] [--json FILE]

* `as a job does`: pillow_heif, that is libheif with libde265, to RGB in Pillow's memory.
* `to planes`: the same libraries called directly, to luma and chroma, without RGB and without copies.
* `unfiltered`: to planes without deblocking and SAO, which hardly show in a reduced picture.
* `FFmpeg`: its decoder to planes, without and with its loop filters; needs the package `av`.

The photo is one picture, or tiles of 512 pixels as telephones make them, these also compressed strongly. SSIM
compares a picture of 1600 pixels with what a job makes of the same file.
"""

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pillow_heif
from PIL import Image

from bench.photos import scene
from bench.quality import ssim
from bench.rig import Report, median, options
from workers import libheif
from workers.codecs import load_codecs
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
_YCBCR, _YCBCR_420 = 0, 1
_NO_DEBLOCKING, _NO_SAO = 7, 8
"""Parameters of libde265 (de265.h)."""
_POINTER = ctypes.c_void_p


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("subcode", ctypes.c_int), ("message", ctypes.c_char_p))


def _library(name: str) -> ctypes.CDLL:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return ctypes.CDLL(next(line.split()[-1] for line in maps if f"/{name}-" in line))


class Planes:
    """libheif, called directly; `filters` says whether libde265 deblocks and applies SAO."""

    def __init__(self) -> None:
        self.filters = True
        self._heif, self._de265 = _library("libheif"), _library("libde265")
        self._heif.heif_context_alloc.restype = _POINTER
        self._heif.heif_image_get_plane_readonly.restype = _POINTER
        for name in ("read_from_memory_without_copy", "get_primary_image_handle"):
            getattr(self._heif, f"heif_context_{name}").restype = _Error
        self._heif.heif_decode_image.restype = _Error
        # Called for each picture, or tile, where libheif means to start threads: see workers/libheif.py.
        self._hook = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)(self._begin)
        hook = ctypes.cast(self._hook, _POINTER).value or 0
        nothing = ctypes.cast(ctypes.CDLL(None).sched_yield, _POINTER).value or 0
        for entry in libheif.find_entries(nothing):
            ctypes.c_size_t.from_address(entry).value = hook

    def _begin(self, decoder: int, _threads: int) -> int:
        for parameter in () if self.filters else (_NO_DEBLOCKING, _NO_SAO):
            self._de265.de265_set_parameter_bool(_POINTER(decoder), parameter, 1)
        return 0

    @contextmanager
    def decoded(self, data: bytes) -> Iterator[list[Image.Image]]:
        """Luma and both chromas, where the decoder has put them; not to be used after the block."""
        heif = self._heif
        context, handle, image = _POINTER(heif.heif_context_alloc()), _POINTER(), _POINTER()
        heif.heif_context_set_max_decoding_threads(context, 0)
        done = [heif.heif_context_read_from_memory_without_copy(context, data, len(data), None)]
        done.append(heif.heif_context_get_primary_image_handle(context, ctypes.byref(handle)))
        done.append(heif.heif_decode_image(handle, ctypes.byref(image), _YCBCR, _YCBCR_420, None))
        if any(each.code for each in done):
            raise SystemExit("libheif did not decode the photo")
        try:
            yield [self._plane(image, channel) for channel in range(3)]
        finally:
            heif.heif_image_release(image)
            heif.heif_image_handle_release(handle)
            heif.heif_context_free(_POINTER(context.value))

    def _plane(self, image: _POINTER, channel: int) -> Image.Image:
        stride = ctypes.c_int()
        start = self._heif.heif_image_get_plane_readonly(image, channel, ctypes.byref(stride))
        size = (
            self._heif.heif_image_get_width(image, channel),
            self._heif.heif_image_get_height(image, channel),
        )
        pixels = (ctypes.c_ubyte * (stride.value * size[1])).from_address(start)
        return Image.frombuffer("L", size, pixels, "raw", "L", stride.value, 1)


def _reduced(planes: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    return Image.merge("YCbCr", [resize(plane, size) for plane in planes]).convert("RGB")


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
    library, report = Planes(), Report("bench.heic")
    with TemporaryDirectory(prefix="spillway-bench-") as folder:
        for name, data in _photos().items():
            path = Path(folder) / "photo.heic"
            path.write_bytes(data)
            library.filters = True
            whole = Image.open(path)
            whole.load()
            size = (_LARGEST, _LARGEST * whole.height // whole.width)
            wanted = np.asarray(resize(whole, size), np.float32)
            plain = _cpu_ms(lambda path=path: Image.open(path).load(), chosen.rounds)  # type: ignore[misc]
            report.add(photo=name, way="as a job does", cpu_ms=plain, of_it=1.0, megabytes=len(data) / 1e6)

            def decode(data: bytes = data) -> None:
                with library.decoded(data):
                    pass

            for library.filters, way in ((True, "to planes"), (False, "unfiltered")):
                cpu_ms = _cpu_ms(decode, chosen.rounds)
                with library.decoded(data) as planes:
                    likeness = ssim(_reduced(planes, size), wanted)
                report.add(photo=name, way=way, cpu_ms=cpu_ms, of_it=cpu_ms / plain, ssim=likeness)
            for skipped, way in (("default", "FFmpeg"), ("all", "FFmpeg, unfiltered")) if av else ():
                cpu_ms = _cpu_ms(lambda data=data, skipped=skipped: _by_ffmpeg(data, skipped), chosen.rounds)  # type: ignore[misc]
                report.add(photo=name, way=way, cpu_ms=cpu_ms, of_it=cpu_ms / plain)
    report.notes.append(f"Medians of {chosen.rounds} rounds in one warm process.")
    report.show(chosen.json)


if __name__ == "__main__":
    main()
