"""Decodes HEIC pictures that are to be reduced, by the libheif that pillow_heif has loaded.

pillow_heif makes RGB of all pixels, and copies them twice. Here luma and chroma are scaled where the decoder
has put them, and become RGB afterwards. That takes a third less memory, and a tenth to a fifth less time.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import _pillow_heif
from PIL import Image, ImageFile

from workers.scaling import resize
from workers.shapes import Size

_YCBCR, _YCBCR_420 = 0, 1
"""A colour space and a chroma format (heif_colorspace, heif_chroma)."""
_BT601 = (2, 5, 6)
"""The matrices (ISO/IEC 23091-2) by which JPEG and Pillow make RGB: 2 names none, and is taken for them."""
_MIN_FACTOR = 2
"""How many times smaller both sides become at least, so that no chroma is enlarged."""


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("subcode", ctypes.c_int), ("message", ctypes.c_char_p))


class _Colours(ctypes.Structure):
    """The first fields of heif_color_profile_nclx."""

    _fields_ = (
        ("version", ctypes.c_uint8),
        ("primaries", ctypes.c_int),
        ("transfer", ctypes.c_int),
        ("matrix", ctypes.c_int),
        ("is_full_range", ctypes.c_uint8),
    )


_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_FUNCTIONS = {
    "heif_context_alloc": (_POINTER, ()),
    "heif_context_free": (None, (_POINTER,)),
    "heif_context_set_max_decoding_threads": (None, (_POINTER, _INT)),
    "heif_context_read_from_memory_without_copy": (
        _Error,
        (_POINTER, ctypes.c_char_p, ctypes.c_size_t, _POINTER),
    ),
    "heif_context_get_primary_image_handle": (_Error, (_POINTER, _POINTER)),
    "heif_image_handle_release": (None, (_POINTER,)),
    "heif_image_handle_has_alpha_channel": (_INT, (_POINTER,)),
    "heif_image_handle_get_luma_bits_per_pixel": (_INT, (_POINTER,)),
    "heif_image_handle_get_chroma_bits_per_pixel": (_INT, (_POINTER,)),
    "heif_image_handle_get_preferred_decoding_colorspace": (_Error, (_POINTER, _POINTER, _POINTER)),
    "heif_decode_image": (_Error, (_POINTER, _POINTER, _INT, _INT, _POINTER)),
    "heif_image_release": (None, (_POINTER,)),
    "heif_image_get_nclx_color_profile": (_Error, (_POINTER, _POINTER)),
    "heif_nclx_color_profile_free": (None, (_POINTER,)),
    "heif_image_get_width": (_INT, (_POINTER, _INT)),
    "heif_image_get_height": (_INT, (_POINTER, _INT)),
    "heif_image_get_plane_readonly": (_POINTER, (_POINTER, _INT, _POINTER)),
}
"""Type of the result, and of the arguments."""


def _load() -> ctypes.CDLL | None:
    """The libheif that pillow_heif has loaded; None if it is not to be found, or is another one."""
    try:
        library = ctypes.CDLL(_pillow_heif.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        return None
    return library


_HEIF = _load()


def decode_reduced(opened: Image.Image, needed: Size) -> Image.Image | None:
    """The picture that pillow_heif has opened from a path, and not decoded, as RGB at the size `needed`.

    None if it is left to pillow_heif: because it is hardly reduced, or by `decoded_planes`.
    """
    size = opened.size
    is_reduced = all(side >= _MIN_FACTOR * wanted for side, wanted in zip(size, needed, strict=True))
    if not is_reduced or opened.mode != "RGB" or not isinstance(opened, ImageFile.ImageFile):
        return None
    half = (size[0] + 1) // 2, (size[1] + 1) // 2
    with decoded_planes(Path(os.fsdecode(opened.filename)).read_bytes()) as planes:
        if [plane.size for plane in planes] != [size, half, half]:
            return None
        # Of an odd side, half a pixel of the chroma lies outside.
        boxes = (0, 0, *size), *2 * [(0, 0, size[0] / 2, size[1] / 2)]
        scaled = [resize(plane, needed, box) for plane, box in zip(planes, boxes, strict=True)]
        # Inside the context: chroma that is not to be scaled is still where libheif has it.
        return Image.merge("YCbCr", scaled).convert("RGB")


@contextmanager
def decoded_planes(data: bytes) -> Iterator[list[Image.Image]]:
    """A context with luma and both chromas of the primary picture in an HEIC file, where libheif has them.

    They are in the form of JPEG, and must not be used after the context. There are none where libheif does
    not decode the picture, or it is not of the kind that telephones make (8 bits, 4:2:0, without alpha).
    """
    with ExitStack() as stack:
        image = None if _HEIF is None else _decode(_HEIF, data, stack)
        planes = [] if image is None else [_plane(image, channel) for channel in range(3)]
        yield [plane for plane in planes if plane is not None]


def _decode(heif: ctypes.CDLL, data: bytes, stack: ExitStack) -> ctypes.c_void_p | None:
    """The decoded picture, until `stack` is left; None as `decoded_planes` has none."""
    context, handle, image = _POINTER(heif.heif_context_alloc()), _POINTER(), _POINTER()
    stack.callback(heif.heif_context_free, context)
    heif.heif_context_set_max_decoding_threads(context, 0)
    if heif.heif_context_read_from_memory_without_copy(context, data, len(data), None).code:
        return None
    if heif.heif_context_get_primary_image_handle(context, ctypes.byref(handle)).code:
        return None
    stack.callback(heif.heif_image_handle_release, handle)
    if not _is_usual(handle):
        return None
    if heif.heif_decode_image(handle, ctypes.byref(image), _YCBCR, _YCBCR_420, None).code:
        return None
    stack.callback(heif.heif_image_release, image)
    return image if _has_usual_colours(image) else None


def _is_usual(handle: ctypes.c_void_p) -> bool:
    """Whether a picture has the pixels of a telephone's photo."""
    assert _HEIF is not None  # noqa: S101 (narrows the type: `decoded_planes` has checked it)
    space, chroma = _INT(), _INT()
    _HEIF.heif_image_handle_get_preferred_decoding_colorspace(
        handle, ctypes.byref(space), ctypes.byref(chroma)
    )
    return (
        (space.value, chroma.value) == (_YCBCR, _YCBCR_420)
        and _HEIF.heif_image_handle_get_luma_bits_per_pixel(handle) == 8
        and _HEIF.heif_image_handle_get_chroma_bits_per_pixel(handle) == 8
        and not _HEIF.heif_image_handle_has_alpha_channel(handle)
    )


def _has_usual_colours(image: ctypes.c_void_p) -> bool:
    """Whether a decoded picture has the matrix by which Pillow makes RGB; libheif brings most to that."""
    assert _HEIF is not None  # noqa: S101
    colours = ctypes.POINTER(_Colours)()
    if _HEIF.heif_image_get_nclx_color_profile(image, ctypes.byref(colours)).code:
        return False
    found = colours.contents
    usual = found.matrix in _BT601 and bool(found.is_full_range)
    _HEIF.heif_nclx_color_profile_free(colours)
    return usual


def _plane(image: ctypes.c_void_p, channel: int) -> Image.Image | None:
    """A channel of a decoded picture, where it is in memory; None if it has none."""
    assert _HEIF is not None  # noqa: S101
    stride = _INT()
    start = _HEIF.heif_image_get_plane_readonly(image, channel, ctypes.byref(stride))
    size = _HEIF.heif_image_get_width(image, channel), _HEIF.heif_image_get_height(image, channel)
    if not start or min(size) < 1:
        return None
    pixels = (ctypes.c_ubyte * (stride.value * size[1])).from_address(start)
    return Image.frombuffer("L", size, pixels, "raw", "L", stride.value, 1)
