"""Composes the frames of a GIF as browsers do: what no frame has drawn, or was cleared, is transparent.

Pillow fills the canvas with the palette's background colour, unless the file has a transparent colour.
"""

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

_CLEAR, _RESTORE = 2, 3
"""Disposal methods: clear the frame's area after it was shown, or restore what was there before."""
_TRANSPARENT = (0, 0, 0, 0)


def clear_outside(image: Image.Image, file: GifImageFile) -> Image.Image:
    """The decoded first frame `image` of `file`, transparent outside the frame's own rectangle.

    `image` itself if the frame covers the canvas, or if Pillow has filled the rest with a transparent colour.
    """
    area = file.dispose_extent
    if area is None or "transparency" in image.info or _covers(area, image.size):
        return image
    cleared = Image.new("RGBA", image.size, _TRANSPARENT)
    cleared.paste(image.crop(area).convert("RGBA"), area)
    return cleared


def compose_frame(file: GifImageFile, index: int) -> None:
    """Decode frame `index` over those before it, in RGBA; to be called with each index in turn.

    `file` is at that frame already, by `seek_frame`.
    """
    if index == 0:
        file.load()
        _set_canvas(file, clear_outside(file, file).convert("RGBA"))
        file.info.pop("transparency", None)
    else:
        if file.im.size != file.size:
            # The frame reaches beyond the canvas. Pillow would enlarge it, and lose what is transparent.
            _set_canvas(file, _enlarge(file))
        file.load()
    # The first frame can restore only the empty canvas.
    clears = file.disposal_method == _CLEAR or (file.disposal_method == _RESTORE and index == 0)
    if clears and file.dispose_extent is not None:
        left, top, right, bottom = file.dispose_extent
        file.dispose = Image.new("RGBA", (right - left, bottom - top), _TRANSPARENT).im


def seek_frame(file: GifImageFile, index: int) -> None:
    """Read the header of frame `index`; `file` is at the frame before it, or at this one."""
    if index > 0:
        # A frame that names no disposal method keeps its pixels; Pillow would use that of an earlier frame.
        file.disposal_method = 0
    file.seek(index)


def _covers(area: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    return area[0] <= 0 and area[1] <= 0 and area[2] >= size[0] and area[3] >= size[1]


def _enlarge(file: GifImageFile) -> Image.Image:
    canvas = Image.new("RGBA", file.size, _TRANSPARENT)
    canvas.im.paste(file.im, (0, 0, *file.im.size))
    return canvas


def _set_canvas(file: GifImageFile, canvas: Image.Image) -> None:
    file.im = canvas.im
    file._mode = "RGBA"
