"""Loads the codecs that Pillow would load on first use: a confined process cannot open their libraries."""

import warnings

import pillow_heif
from PIL import AvifImagePlugin, Image, PngImagePlugin

_THREADS = 1
"""A task has one processor; more threads would only take more of its address space."""


def load_codecs() -> None:
    """Load the plugins and register that for HEIF; may be called more than once."""
    warnings.simplefilter("ignore")  # Pillow warns about broken metadata, and nobody reads that
    Image.init()
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=_THREADS)
    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS
    # Text chunks are never used.
    PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024
