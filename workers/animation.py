"""Animated variants: every frame of the source resized, written as one animated WebP."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from workers.colour import to_eight_bit, to_srgb
from workers.decode import OpenedImage
from workers.encode import encoder_options, file_name, max_side, open_file, strip_metadata
from workers.failures import JobError, encoding_failure
from workers.gif import compose_frame, seek_frame
from workers.orientation import make_upright
from workers.scaling import resize
from workers.variants import Variant, fit_size

_MIN_DURATION_MS = 11
"""Browsers show frames with a shorter duration for `_DEFAULT_DURATION_MS`, and so does this module."""

_MAX_DURATION_MS = 600_000
_DEFAULT_DURATION_MS = 100
_FLAGS_AT = 20
"""Where an extended WebP has its flags (WebP container specification, "Extended File Format")."""
_ANIMATION, _ALPHA = 0x02, 0x10


def make_animated(
    source: OpenedImage, variants: list[Variant], folder: Path, max_pixels: int
) -> dict[str, tuple[int, int]]:
    """Write each of `variants` as an animated WebP of all frames of `source`; their sizes by name.

    Raises JobError: `too-many-pixels` when all frames together have more than `max_pixels`, or why a variant
    could not be written.
    """
    size = source.size
    cascade = sorted(variants, key=max_side, reverse=True)
    frames: dict[str, list[Image.Image]] = {variant.name: [] for variant in cascade}
    durations: list[int] = []
    for image, duration in _read_frames(source, max_pixels):
        durations.append(duration)
        for variant in cascade:
            image = resize(image, fit_size(*size, max_side(variant)))
            frames[variant.name].append(strip_metadata(image))
    for variant in cascade:
        try:
            _save(
                frames.pop(variant.name), durations, _loop_count(source), variant, folder / file_name(variant)
            )
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
    return {variant.name: fit_size(*size, max_side(variant)) for variant in variants}


def _read_frames(source: OpenedImage, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """Each frame, upright and in sRGB, with its duration in milliseconds; raises JobError."""
    width, height = source.image.size
    pixels_left = max_pixels
    # An APNG may begin with a still picture for programs that know no APNG; it is not one of the frames.
    start = 1 if getattr(source.image, "default_image", False) else 0
    for index in range(start, source.frames):
        if isinstance(source.image, GifImageFile):
            seek_frame(source.image, index)
        else:
            source.image.seek(index)
        # A frame may reach beyond the canvas. Pillow then enlarges the picture; the header does not say so.
        pixels_left -= source.image.width * source.image.height
        if pixels_left < 0:
            raise JobError(
                "too-many-pixels",
                f"All frames together have more than the {max_pixels:,} pixels that are accepted.",
            )
        if isinstance(source.image, GifImageFile):
            compose_frame(source.image, index)
        else:
            source.image.load()
        info = source.info
        image = make_upright(
            to_srgb(to_eight_bit(source.image.crop((0, 0, width, height))), info), source.orientation
        )
        yield image, _frame_duration(info.get("duration"))


def _frame_duration(stated: object) -> int:
    if isinstance(stated, int | float) and _MIN_DURATION_MS <= stated <= _MAX_DURATION_MS:
        return round(stated)
    return _DEFAULT_DURATION_MS


def _loop_count(source: OpenedImage) -> int:
    """How many times the animation plays, as WebP counts: 0 means without end."""
    loop = source.image.info.get("loop")
    if not isinstance(loop, int) or loop < 0:
        return 1 if source.format == "gif" else 0
    # A GIF states how often it is repeated after it has played once.
    return min(loop + 1 if source.format == "gif" and loop else loop, 65_535)


def _save(frames: list[Image.Image], durations: list[int], loop: int, variant: Variant, path: Path) -> None:
    with open_file(path) as file:
        frames[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=durations if len(durations) > 1 else durations[0],
            loop=loop,
            background=(0, 0, 0, 0),
            **encoder_options(variant),
        )
        if len(frames) > 1 and any(frame.mode in ("LA", "RGBA") for frame in frames):
            # The encoder says that there is no transparency where only the disposal of frames makes some.
            file.seek(_FLAGS_AT)
            file.write(bytes((_ANIMATION | _ALPHA,)))
