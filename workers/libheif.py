"""Makes libheif decode without threads, so that a confined process needs none."""

import ctypes
import re
from pathlib import Path

import _pillow_heif

_STARTS_THREADS = "de265_start_worker_threads"
"""The function of libde265 that libheif calls for each picture: 48 times for the photo of a phone."""
_ADDRESS_BYTES = ctypes.sizeof(ctypes.c_void_p)


def decode_without_threads() -> bool:
    """Have libheif decode HEVC in the calling thread; whether that is so now. May be called more than once.

    libheif has libde265 start a thread for each picture, and no setting for none, though libde265 decodes
    without one by default, to the same pixels. So the entry of that function in the table of addresses
    through which libheif calls it (its global offset table) is replaced by a function that returns 0, which
    means success. Where libheif or its table are not found, nothing is changed.
    """
    try:
        starts_threads = _address(getattr(ctypes.CDLL(_pillow_heif.__file__), _STARTS_THREADS))
        does_nothing = _address(ctypes.CDLL(None).sched_yield)
        entries = find_entries(starts_threads)
        if not entries:
            return bool(find_entries(does_nothing))
        for entry in entries:
            ctypes.c_size_t.from_address(entry).value = does_nothing
    except (AttributeError, OSError):
        return False
    return True


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def find_entries(function: int) -> list[int]:
    """Where in the writable data of libheif the address `function` is kept."""
    wanted = re.escape(function.to_bytes(_ADDRESS_BYTES, "little"))
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        addresses, rights, *_, name = line.split()
        if "libheif" in name and rights.startswith("rw"):
            start, end = (int(address, 16) for address in addresses.split("-"))
            matches = re.finditer(wanted, ctypes.string_at(start, end - start), re.DOTALL)
            found += [start + match.start() for match in matches if match.start() % _ADDRESS_BYTES == 0]
    return found
