"""Everything that Pillow would load when first asked for, loaded now: a confined process opens no library."""

import warnings

import pillow_heif
from PIL import AvifImagePlugin, Image, PngImagePlugin

# A job has one processor; more threads would only multiply its address space.
_THREADS = 1


def load_codecs() -> None:
    """Register the allowed plugins; idempotent."""
    warnings.simplefilter("ignore")  # broken metadata warns, and nobody reads it
    Image.init()
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=_THREADS)
    AvifImagePlugin.DEFAULT_MAX_THREADS = _THREADS
    # Text is never kept, so none has to be held.
    PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024
