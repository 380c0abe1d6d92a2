"""Animated variants: every frame of the source resized, written as one animated WebP."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from workers.cascade import Cascade, Step, Target, make_targets
from workers.colour import Info, to_eight_bit
from workers.decode import OpenedImage
from workers.encode import WHITE, encoder_options, file_name, open_file, strip_metadata
from workers.failures import JobError, encoding_failure
from workers.gif import compose_frame, seek_frame
from workers.orientation import make_upright
from workers.outputs import Outputs, group_outputs
from workers.shapes import Rect, Size
from workers.small_picture import make_small_picture
from workers.smart_crop import find_richest
from workers.variants import Variant

_MIN_DURATION_MS = 11
"""Browsers show frames with a shorter duration for `_DEFAULT_DURATION_MS`, and so does this module."""

_MAX_DURATION_MS = 600_000
_DEFAULT_DURATION_MS = 100
_FLAGS_AT = 20
"""Where an extended WebP has its flags (WebP container specification, "Extended File Format")."""
_ANIMATION, _ALPHA = 0x02, 0x10


@dataclass(slots=True)
class _Film:
    """The variants of one colour space, with the frames that were made of each so far."""

    outputs: Outputs
    targets: list[Target]
    frames: dict[str, list[Image.Image]]

    def add(self, image: Image.Image, info: Info) -> None:
        """Make each variant of one more frame, which is upright."""
        cascade = Cascade(Step(self.outputs.convert(image, info), Rect(0, 0, *image.size)))
        for target in self.targets:
            self.frames[target.variant.name].append(strip_metadata(cascade.make(target)))


def make_animated(
    source: OpenedImage, variants: list[Variant], folder: Path, max_pixels: int
) -> dict[str, Size]:
    """Write each of `variants` as an animated WebP of all frames of `source`; their sizes by name.

    Every frame is cut in the same place, which the first one decides. Raises JobError: `too-many-pixels` when
    all frames together have more than `max_pixels`, or why a variant could not be written.
    """
    films: list[_Film] = []
    durations: list[int] = []
    for image, info in _read_frames(source, max_pixels):
        films = films or list(_start_films(variants, image, info))
        durations.append(_frame_duration(info.get("duration")))
        for film in films:
            film.add(image, info)
    timing = {"duration": durations if len(durations) > 1 else durations[0], "loop": _loop_count(source)}
    for film in films:
        for target in film.targets:
            variant = target.variant
            options = encoder_options(variant, film.outputs.colours.icc) | timing
            try:
                _save(film.frames.pop(variant.name), options, folder / file_name(variant))
            except Exception as error:
                raise encoding_failure(error, variant.name) from error
    return {target.variant.name: target.size for film in films for target in film.targets}


def _start_films(variants: list[Variant], first: Image.Image, info: Info) -> Iterator[_Film]:
    """A film for each colour space, by the first frame, which is upright."""

    def find(part: Size) -> Rect:
        return find_richest(make_small_picture(first, info, 1), first.size, part)

    for outputs in group_outputs(variants, first, info, WHITE):
        targets = make_targets(outputs.variants, first.size, find)
        yield _Film(outputs, targets, {target.variant.name: [] for target in targets})


def _read_frames(source: OpenedImage, max_pixels: int) -> Iterator[tuple[Image.Image, Info]]:
    """Each frame, upright and with 8 bits a channel, with Pillow's `info` of it; raises JobError."""
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
        image = to_eight_bit(source.image.crop((0, 0, width, height)))
        yield make_upright(image, source.orientation), source.info


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


def _save(frames: list[Image.Image], options: dict[str, Any], path: Path) -> None:
    encoded = io.BytesIO()
    frames[0].save(
        encoded, "WEBP", save_all=True, append_images=frames[1:], background=(0, 0, 0, 0), **options
    )
    with encoded.getbuffer() as data, open_file(path) as file:
        # The encoder omits the flag of transparency where only the disposal of frames makes some. Of frames
        # that are all alike it makes a still picture, whose flags are right.
        is_animated = bytes(data[12:16]) == b"VP8X" and data[_FLAGS_AT] & _ANIMATION
        if is_animated and any(frame.mode in ("LA", "RGBA") for frame in frames):
            data[_FLAGS_AT] |= _ALPHA
        file.write(data)
