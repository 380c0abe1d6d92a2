"""The pipeline of one task: decode once, then make the variants from the largest scale to the smallest.

Each is made of one before, which is cheaper than of the source (`workers/cascade.py`).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile

from workers.animation import make_animated
from workers.background import read_colour
from workers.blurhash import blurhash
from workers.cascade import Cascade, Step, Target, first_step, make_targets, map_box
from workers.colour import Info, to_eight_bit
from workers.decode import Bounds, OpenedImage, decode, open_image
from workers.encode import create_file, encode, file_name
from workers.failures import JobError, decoding_failure, encoding_failure, explain
from workers.messages import Done, Made, Source, Task
from workers.orientation import make_upright, stored_box
from workers.outputs import Outputs, group_outputs
from workers.scaling import resize
from workers.shapes import Rect, Size
from workers.small_picture import make_small_picture
from workers.smart_crop import find_richest
from workers.stand_in import find_stand_in
from workers.variants import Variant, read_specs


@dataclass(frozen=True)
class _Frame:
    """The decoded first frame of a source; `image` has 8 bits a channel and is not upright yet."""

    source: OpenedImage
    image: Image.Image
    info: Info
    size: Size
    """Width and height of the source, upright."""
    provisional: bool = False
    """Whether `image` is the thumbnail embedded in the file."""

    @functools.cached_property
    def small(self) -> Image.Image:
        """A small copy, upright and in sRGB."""
        return make_small_picture(self.image, self.info, self.source.orientation)


def create_files(task: Task) -> tuple[Variant, ...]:
    """Create the empty files that `make_variants` writes; returns the variants. Raises JobError."""
    variants = read_specs(task.variants)
    for variant in variants:
        try:
            create_file(Path(task.folder) / file_name(variant))
        except OSError as error:
            raise encoding_failure(error, variant.name) from error
    return variants


def make_variants(task: Task, variants: Sequence[Variant]) -> Done:
    """Make all variants of `task` in this process, as `create_files` has returned them; raises JobError."""
    try:
        return _make_variants(task, variants)
    except JobError as error:
        if error.is_precise:
            raise
        raise JobError(error.reason, explain(error.reason, task)) from error
    except MemoryError as error:
        raise JobError("too-much-memory", explain("too-much-memory", task)) from error


def _make_variants(task: Task, variants: Sequence[Variant]) -> Done:
    ImageFile.LOAD_TRUNCATED_IMAGES = task.truncated
    folder, background = Path(task.folder), read_colour(task.background)
    made: dict[str, Size] = {}
    provisional = False
    prepared: list[tuple[Outputs, Step, list[Target]]] = []
    hash_ = ""
    try:
        bounds = Bounds(task.max_pixels, task.memory_bytes, variants)
        animated_wanted = any(variant.animated for variant in variants)
        with open_image(Path(task.source), bounds, animated=animated_wanted) as source:
            still = [each for each in variants if not (each.animated and source.frames > 1)]
            size = source.size
            if still:
                frame = _decode_first_frame(source, still, stand_in=task.stand_in)
                size, provisional = frame.size, frame.provisional
                hash_ = blurhash(frame.small, background) if task.blurhash else ""
                groups = group_outputs(still, frame.image, frame.info, background)
                prepared = [(outputs, *_prepare(frame, outputs)) for outputs in groups]
                # What is made next needs the memory of the decoded picture.
                del frame
            if len(still) < len(variants):
                animated = [each for each in variants if each not in still]
                made |= make_animated(source, animated, folder, task.max_pixels)
    except Exception as error:
        raise decoding_failure(error) from error
    for outputs, first, targets in prepared:
        made |= _make_still_variants(outputs, first, targets, folder)
    return Done(
        task.id,
        Source(source.format, *size),
        tuple(
            Made(each.name, file_name(each), each.format, *made[each.name], provisional) for each in variants
        ),
        blurhash=hash_,
    )


def _decode_first_frame(source: OpenedImage, variants: list[Variant], *, stand_in: bool) -> _Frame:
    """The frame that still variants are made of; with `stand_in` the embedded thumbnail, if that will do."""
    if stand_in and (found := find_stand_in(source, variants)) is not None:
        return _Frame(source, to_eight_bit(found.image), found.info, source.size, provisional=True)
    size = source.size
    image = decode(source, variants)
    info = source.info
    if source.format != "jpeg":
        # Decoding may correct the size; that of a JPEG is by now the size at its reduced scale.
        size = source.size
    return _Frame(source, to_eight_bit(image), info, size)


def _prepare(frame: _Frame, outputs: Outputs) -> tuple[Step, list[Target]]:
    """The targets of `outputs`, and the picture that they are made of: no larger than these need."""
    targets = make_targets(
        outputs.variants, frame.size, lambda part: find_richest(frame.small, frame.size, part)
    )
    part, size = first_step(targets)
    source, image = frame.source, frame.image
    upright = source.turned(image.size)
    box = map_box(part, Rect(0, 0, *frame.size), upright)
    # Scaled before it is converted and turned, for there are fewer pixels then.
    image = resize(image, source.turned(size), stored_box(box, upright, source.orientation))
    return Step(make_upright(outputs.convert(image, frame.info), source.orientation), part), targets


def _make_still_variants(
    outputs: Outputs, first: Step, targets: list[Target], folder: Path
) -> dict[str, Size]:
    """Write each of `targets`, made of `first`; their sizes by name."""
    cascade = Cascade(first)
    made = {}
    for target in targets:
        variant = target.variant
        try:
            image = cascade.make(target)
            encode(image, variant, folder / file_name(variant), outputs.colours)
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
        made[variant.name] = image.size
    return made
