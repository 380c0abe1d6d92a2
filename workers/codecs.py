"""Loads the codecs that Pillow would load on first use: a confined process cannot open their libraries."""

import warnings

import PIL
import pillow_heif
from PIL import AvifImagePlugin, Image, PngImagePlugin
from pillow_heif import as_plugin

from workers import libheif

_PLUGINS = "Avif Bmp Gif Jpeg Mpo Png Ppm Tiff WebP"
"""Those of Pillow that read or write what is accepted, or that these use; it has some forty more."""


def load_codecs() -> bool:
    """Load the plugins and register that for HEIF; may be called more than once.

    Returns whether a codec still starts threads. A task has one processor, so none is meant to: dav1d and
    libaom work in the calling thread when they may have one thread, libheif when it may have none.
    """
    warnings.simplefilter("ignore")  # Pillow warns about broken metadata, and nobody reads that
    PIL._plugins[:] = [f"{name}ImagePlugin" for name in _PLUGINS.split()]
    Image.init()
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=0)
    # Otherwise it resets the orientation in EXIF, or in XMP, without having applied it.
    as_plugin.set_orientation = _keep_orientation  # type: ignore[attr-defined, assignment]
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # Text chunks are never used.
    PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024
    return not libheif.decode_without_threads()


def _keep_orientation(_info: dict[str, object]) -> None:
    """In place of pillow_heif's function that resets the orientation in `_info`."""
