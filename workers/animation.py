"""Animations that stay animations: every frame resized, written as one animated WebP."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from workers.colour import eight_bit, to_srgb
from workers.decode import Opened, upright
from workers.encode import bare, created, file_name, largest_side, options
from workers.failures import JobError, encoding_failure
from workers.scaling import scaled
from workers.variants import Variant, fitted

_SHORTEST_MS = 11
"""Browsers show shorter frames for 100 ms, an old custom for files that state no time."""

_LONGEST_MS = 600_000
_CUSTOMARY_MS = 100


def make_animated(
    source: Opened, variants: list[Variant], folder: Path, max_pixels: int
) -> dict[str, tuple[int, int]]:
    """Write each of `variants` as an animated WebP of all frames of `source`; answers their sizes."""
    size = source.size
    cascade = sorted(variants, key=largest_side, reverse=True)
    frames: dict[str, list[Image.Image]] = {variant.name: [] for variant in cascade}
    durations: list[int] = []
    for image, duration in _frames(source, max_pixels):
        durations.append(duration)
        for variant in cascade:
            fitting = fitted(*size, largest_side(variant))
            image = scaled(image, fitting)
            frames[variant.name].append(bare(image))
    for variant in cascade:
        try:
            _save(frames.pop(variant.name), durations, _loops(source), variant, folder / file_name(variant))
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
    return {variant.name: fitted(*size, largest_side(variant)) for variant in variants}


def _frames(source: Opened, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    width, height = source.image.size
    left = max_pixels
    # The still picture that an APNG shows where animations are unknown is no frame of it.
    start = 1 if getattr(source.image, "default_image", False) else 0
    for index in range(start, source.frames):
        source.image.seek(index)
        # A frame may reach beyond the canvas, which its reader then enlarges; the header said nothing of it.
        left -= source.image.width * source.image.height
        if left < 0:
            raise JobError(
                "too-many-pixels", f"Only {max_pixels} pixels are accepted, of all frames together."
            )
        source.image.load()
        info = source.info
        image = upright(
            to_srgb(eight_bit(source.image.crop((0, 0, width, height))), info), source.orientation
        )
        yield image, _duration(info.get("duration"))


def _duration(stated: object) -> int:
    if isinstance(stated, int | float) and _SHORTEST_MS <= stated <= _LONGEST_MS:
        return round(stated)
    return _CUSTOMARY_MS


def _loops(source: Opened) -> int:
    """How often the animation plays, as WebP counts it: 0 is for ever."""
    loop = source.image.info.get("loop")
    if not isinstance(loop, int) or loop < 0:
        return 1 if source.format == "gif" else 0
    # A GIF states its repetitions, not its plays.
    return min(loop + 1 if source.format == "gif" and loop else loop, 65_535)


def _save(frames: list[Image.Image], durations: list[int], loop: int, variant: Variant, path: Path) -> None:
    with created(path) as file:
        frames[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=durations if len(durations) > 1 else durations[0],
            loop=loop,
            background=(0, 0, 0, 0),
            **options(variant),
        )
