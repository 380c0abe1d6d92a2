"""The pipeline of one task: decode once, then make the variants from the largest to the smallest.

Each is scaled down from the one before, which is cheaper than from the source.
"""

from pathlib import Path

from PIL import Image, ImageFile

from workers.animation import make_animated
from workers.blurhash import blurhash
from workers.colour import is_srgb, to_eight_bit, to_srgb
from workers.decode import Bounds, OpenedImage, decode, open_image
from workers.encode import create_file, encode, file_name, max_side
from workers.failures import JobError, decoding_failure, encoding_failure, explain
from workers.messages import Done, Made, Source, Task
from workers.orientation import make_upright
from workers.scaling import resize
from workers.variants import Variant, fit_size, parse_variants


def create_files(task: Task) -> tuple[Variant, ...]:
    """Create the empty files that `make_variants` writes; returns the variants. Raises JobError."""
    variants = parse_variants(",".join(task.variants))
    for variant in variants:
        try:
            create_file(Path(task.folder) / file_name(variant))
        except OSError as error:
            raise encoding_failure(error, variant.name) from error
    return variants


def make_variants(task: Task) -> Done:
    """Make all variants of `task` in this process, in the files of `create_files`; raises JobError."""
    try:
        return _make_variants(task)
    except JobError as error:
        if error.is_precise:
            raise
        raise JobError(error.reason, explain(error.reason, task)) from error
    except MemoryError as error:
        raise JobError("too-much-memory", explain("too-much-memory", task)) from error


def _make_variants(task: Task) -> Done:
    variants = parse_variants(",".join(task.variants))
    ImageFile.LOAD_TRUNCATED_IMAGES = task.truncated
    folder = Path(task.folder)
    made: dict[str, tuple[int, int]] = {}
    try:
        bounds = Bounds(task.max_pixels, task.memory_bytes, max(max_side(each) for each in variants))
        animated_wanted = any(variant.animated for variant in variants)
        with open_image(Path(task.source), bounds, animated=animated_wanted) as source:
            still = [each for each in variants if not (each.animated and source.frames > 1)]
            size: tuple[int, int] = source.size
            first: Image.Image | None = None
            if still:
                size, first = _decode_first_frame(source, max(max_side(each) for each in still))
            if len(still) < len(variants):
                animated = [each for each in variants if each not in still]
                made |= make_animated(source, animated, folder, task.max_pixels)
    except Exception as error:
        raise decoding_failure(error) from error
    hash_ = blurhash(first) if task.blurhash and first is not None else ""
    if first is not None:
        made |= _make_still_variants(first, size, still, folder)
    return Done(
        task.id,
        Source(source.format, *size),
        tuple(Made(each.name, file_name(each), each.format, *made[each.name]) for each in variants),
        blurhash=hash_,
    )


def _decode_first_frame(source: OpenedImage, side: int) -> tuple[tuple[int, int], Image.Image]:
    """The upright size of the source, and its first frame: upright, in sRGB, fitted into `side` pixels."""
    size = source.size
    image = decode(source, side)
    info = source.info
    if source.format != "jpeg":
        # Decoding may correct the size; that of a JPEG is by now the size at its reduced scale.
        size = source.size
    width, height = fit_size(*size, side)
    if source.is_sideways:
        width, height = height, width
    # Scaled before it is converted, for there are fewer pixels to convert then.
    image = resize(to_eight_bit(image), (width, height))
    if image.mode != "RGB" or not is_srgb(info):
        image = to_srgb(image, info)
    return size, make_upright(image, source.orientation)


def _make_still_variants(
    image: Image.Image, size: tuple[int, int], variants: list[Variant], folder: Path
) -> dict[str, tuple[int, int]]:
    """Write each of `variants` from `image`, the picture of a source of this `size`; their sizes by name."""
    made = {}
    for variant in sorted(variants, key=max_side, reverse=True):
        try:
            image = resize(image, fit_size(*size, max_side(variant)))
            encode(image, variant, folder / file_name(variant))
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
        made[variant.name] = image.size
    return made
