"""The pipeline of one job: decode once, then a cascade from the largest variant to the smallest."""

from pathlib import Path

from PIL import Image, ImageFile

from workers.animation import make_animated
from workers.blurhash import blurhash
from workers.colour import eight_bit, is_srgb, to_srgb
from workers.decode import Bounds, Opened, decode, opened, upright
from workers.encode import encode, file_name, largest_side
from workers.failures import decoding_failure, encoding_failure
from workers.messages import Done, Made, Source, Task
from workers.scaling import scaled
from workers.variants import Variant, fitted, parse_variants


def make(job: Task) -> Done:
    """Make every variant of `job`, in its folder, in this process; raises JobError."""
    variants = parse_variants(",".join(job.variants))
    ImageFile.LOAD_TRUNCATED_IMAGES = job.truncated
    folder = Path(job.folder)
    made: dict[str, tuple[int, int]] = {}
    try:
        bounds = Bounds(job.max_pixels, job.memory_bytes, max(largest_side(each) for each in variants))
        moving = any(variant.animated for variant in variants)
        with opened(Path(job.source), bounds, animated=moving) as source:
            still = [each for each in variants if not (each.animated and source.frames > 1)]
            size: tuple[int, int] = source.size
            first: Image.Image | None = None
            if still:
                size, first = _decoded(source, max(largest_side(each) for each in still))
            if len(still) < len(variants):
                animated = [each for each in variants if each not in still]
                made |= make_animated(source, animated, folder, job.max_pixels)
    except Exception as error:
        raise decoding_failure(error) from error
    hash_ = blurhash(first) if job.blurhash and first is not None else ""
    if first is not None:
        made |= _make_still(first, size, still, folder)
    return Done(
        job.id,
        Source(source.format, *size),
        tuple(Made(each.name, file_name(each), each.format, *made[each.name]) for each in variants),
        blurhash=hash_,
    )


def _decoded(source: Opened, side: int) -> tuple[tuple[int, int], Image.Image]:
    """Upright size of the source, and its first frame upright, in sRGB, fitted into `side`."""
    size = source.size
    image = decode(source, side)
    info = source.info
    if source.format != "jpeg":
        # Decoding has the last word; a JPEG's size is by now that of its reduced scale.
        size = source.size
    width, height = fitted(*size, side)
    if source.sideways:
        width, height = height, width
    # Scaled first: there are fewer pixels to convert then.
    image = scaled(eight_bit(image), (width, height))
    if image.mode != "RGB" or not is_srgb(info):
        image = to_srgb(image, info)
    return size, upright(image, source.orientation)


def _make_still(
    image: Image.Image, size: tuple[int, int], variants: list[Variant], folder: Path
) -> dict[str, tuple[int, int]]:
    made = {}
    for variant in sorted(variants, key=largest_side, reverse=True):
        try:
            image = scaled(image, fitted(*size, largest_side(variant)))
            encode(image, variant, folder / file_name(variant))
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
        made[variant.name] = image.size
    return made
