"""Reads the samples of a TIFF picture by libtiff, with which Pillow reads TIFF itself.

Pillow refuses, or shows wrongly, many kinds of samples that libtiff reads. Pillow has loaded it already, so
this takes neither memory nor another dependency (docs/formats.md says why not tifffile).
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, _imaging

from workers.failures import JobError

_PIECE_BYTES = 1024 * 1024
"""Samples that are handed out at once, at least, if there are so many."""
_MAX_TILE_PIXELS = 2**22
"""Of a tile that is larger than its picture by far; there are none for good reason."""
_SUCCESS = 1

_Int, _UInt16, _UInt32, _Size, _Pointer = (
    ctypes.c_int,
    ctypes.c_uint16,
    ctypes.c_uint32,
    ctypes.c_ssize_t,
    ctypes.c_void_p,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a picture: its place and its size in pixels, and its samples.

    `samples` are row by row, in the byte order of this machine; a row begins at a whole byte.
    """

    x: int
    y: int
    width: int
    height: int
    samples: bytes


@dataclass(frozen=True, slots=True)
class _Functions:
    """The functions of libtiff, by what they do; their names are in `_load`."""

    open: Callable[..., Any]
    close: Callable[..., Any]
    select_directory: Callable[..., Any]
    tile_bytes: Callable[..., Any]
    count_tiles: Callable[..., Any]
    read_tile: Callable[..., Any]
    row_bytes: Callable[..., Any]
    read_row: Callable[..., Any]
    read_rgba: Callable[..., Any]


def _load() -> _Functions | None:
    """The functions of the libtiff that Pillow has loaded; None if this Pillow has none, or hides it."""
    library = ctypes.CDLL(_imaging.__file__)  # its symbols are searched in the libraries that it needs, too

    def declare(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        return function  # type: ignore[no-any-return]

    try:
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            declare(name, _Pointer, _Pointer)(None)  # otherwise each damaged file writes to standard error
        return _Functions(
            open=declare("TIFFFdOpen", _Pointer, _Int, ctypes.c_char_p, ctypes.c_char_p),
            close=declare("TIFFClose", None, _Pointer),
            select_directory=declare("TIFFSetSubDirectory", _Int, _Pointer, ctypes.c_uint64),
            tile_bytes=declare("TIFFTileSize", _Size, _Pointer),
            count_tiles=declare("TIFFNumberOfTiles", _UInt32, _Pointer),
            read_tile=declare("TIFFReadEncodedTile", _Size, _Pointer, _UInt32, _Pointer, _Size),
            row_bytes=declare("TIFFScanlineSize", _Size, _Pointer),
            read_row=declare("TIFFReadScanline", _Int, _Pointer, _Pointer, _UInt32, _UInt16),
            read_rgba=declare(
                "TIFFReadRGBAImageOriented", _Int, _Pointer, _UInt32, _UInt32, _Pointer, _Int, _Int
            ),
        )
    except AttributeError:
        return None


_FUNCTIONS = _load()


class TiffReader:
    """One picture of an open TIFF file; made by `open_tiff`."""

    def __init__(self, functions: _Functions, handle: int) -> None:
        self._functions = functions
        self._handle = handle

    def read_rows(self, size: tuple[int, int], row_bytes: int, plane: int) -> Iterator[Piece]:
        """The rows of one plane (0 where all samples are together), some at a time; raises JobError.

        `row_bytes` is what a row must have by the tags. The rows end where the file does, if truncated files
        are accepted.
        """
        width, height = size
        if self._functions.row_bytes(self._handle) != row_bytes:
            raise JobError("undecodable")
        at_once = max(1, _PIECE_BYTES // row_bytes)
        top, is_whole = 0, True
        while is_whole and top < height:
            count = min(at_once, height - top)
            buffer = ctypes.create_string_buffer(row_bytes * count)
            is_whole = _is_whole(
                self._functions.read_row(
                    self._handle, ctypes.byref(buffer, row * row_bytes), top + row, plane
                )
                == _SUCCESS
                for row in range(count)
            )
            yield Piece(0, top, width, count, buffer.raw)
            top += count

    def read_tiles(self, size: tuple[int, int], tile: tuple[int, int, int], plane: int) -> Iterator[Piece]:
        """The tiles of one plane (0 where all samples are together), as `read_rows`; raises JobError.

        `tile` is the width and the height of a tile, and its bytes. Tiles reach beyond the picture.
        """
        (width, height), (across, down, tile_bytes) = size, tile
        columns, rows = -(-width // across), -(-height // down)
        first = columns * rows * plane
        if (
            across * down > max(_MAX_TILE_PIXELS, 4 * width * height)
            or self._functions.tile_bytes(self._handle) != tile_bytes
            or self._functions.count_tiles(self._handle) < first + columns * rows
        ):
            raise JobError("undecodable")
        for index in range(columns * rows):
            buffer = ctypes.create_string_buffer(tile_bytes)
            read = self._functions.read_tile(self._handle, first + index, buffer, tile_bytes)
            is_whole = _is_whole((read == tile_bytes,))
            yield Piece(index % columns * across, index // columns * down, across, down, buffer.raw)
            if not is_whole:
                return

    def read_rgba(self, size: tuple[int, int], orientation: int) -> Image.Image:
        """The picture as libtiff shows it, in RGBa and not turned by its `orientation`; raises JobError."""
        width, height = size
        pixels = bytearray(4 * width * height)
        buffer = (ctypes.c_char * len(pixels)).from_buffer(pixels)
        strict = not ImageFile.LOAD_TRUNCATED_IMAGES
        # It turns the picture from its own orientation to the one that is asked for.
        done = self._functions.read_rgba(self._handle, width, height, buffer, orientation, strict)
        _is_whole((done == _SUCCESS,))
        return Image.frombuffer("RGBa", size, pixels, "raw", "RGBa", 0, 1)


@contextlib.contextmanager
def open_tiff(path: Path, directory: int) -> Iterator[TiffReader]:
    """A context in which the picture is open that `directory`, an offset in the file, describes.

    Raises JobError if libtiff refuses it.
    """
    if _FUNCTIONS is None:
        raise JobError("undecodable", "This kind of TIFF cannot be decoded here.")
    descriptor = os.open(path, os.O_RDONLY)
    # "m": the file is not mapped into memory, where a file that is cut off would end the process.
    handle = _FUNCTIONS.open(descriptor, b"upload", b"rm")
    if not handle:
        os.close(descriptor)
        raise JobError("undecodable")
    try:
        if _FUNCTIONS.select_directory(handle, directory) != _SUCCESS:
            raise JobError("undecodable")
        yield TiffReader(_FUNCTIONS, handle)
    finally:
        _FUNCTIONS.close(handle)


def _is_whole(steps: Iterable[bool]) -> bool:
    """Whether all steps succeed; after one that fails no more are taken.

    Raises JobError for that, unless truncated files are accepted.
    """
    if all(steps):
        return True
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        raise JobError("undecodable", "The TIFF ends before its picture does, or is damaged.")
    return False
