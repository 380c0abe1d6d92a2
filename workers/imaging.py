"""The pipeline of one job: decode once, then a cascade from the largest variant to the smallest."""

from pathlib import Path

from PIL import Image, ImageFile

from workers.animation import make_animated
from workers.colour import eight_bit, is_srgb, to_srgb
from workers.decode import Bounds, Opened, decode, is_ycbcr, opened, upright
from workers.encode import encode, file_name, largest_side
from workers.failures import decoding_failure, encoding_failure
from workers.messages import Done, Job, Made, Source
from workers.placeholder import blurhash
from workers.planes import Planes, shrunk
from workers.variants import Variant, fitted, parse_variants

_SUBSAMPLED = ("jpeg", "webp")


def make(job: Job) -> Done:
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
            first: Image.Image | Planes | None = None
            if still:
                side = max(largest_side(each) for each in still)
                size, first = _decoded(source, side, planar=all(each.format in _SUBSAMPLED for each in still))
            if len(still) < len(variants):
                animated = [each for each in variants if each not in still]
                made |= make_animated(source, animated, folder, job.max_pixels)
    except Exception as error:
        raise decoding_failure(error) from error
    hash_ = ""
    if job.blurhash and first is not None:
        hash_ = blurhash(first.image().convert("RGB") if isinstance(first, Planes) else first)
    if first is not None:
        made |= _make_still(first, size, still, folder)
    return Done(
        job.id,
        Source(source.format, *size),
        tuple(Made(each.name, file_name(each), each.format, *made[each.name]) for each in variants),
        blurhash=hash_,
    )


def _decoded(source: Opened, side: int, *, planar: bool) -> tuple[tuple[int, int], Image.Image | Planes]:
    """Upright size of the source, and its first frame upright, in sRGB, fitted into `side`.

    As planes, if it may be `planar` and has neither alpha nor other colours than a JPEG can have.
    """
    size = source.size
    # What is missing of a truncated file stays zero, which is black in RGB alone.
    through = planar and is_ycbcr(source.image) and not ImageFile.LOAD_TRUNCATED_IMAGES
    image = decode(source, side, "YCbCr" if through else None)
    info = dict(image.info)
    if source.format != "jpeg":
        # Decoding has the last word; a JPEG's size is by now that of its reduced scale.
        size = source.size
    if not through:
        image = eight_bit(image)
    if planar and image.mode in ("RGB", "YCbCr"):
        # Turned first: an odd side ends in half a chroma pixel, and turning would bring that to the front.
        planes = Planes.of(upright(image, source.orientation)).resized(fitted(*size, side))
        return size, planes if is_srgb(info) else Planes.of(to_srgb(planes.image().convert("RGB"), info))
    width, height = fitted(*size, side)
    if source.sideways:
        width, height = height, width
    return size, upright(to_srgb(resized(image, (width, height)), info), source.orientation)


def _make_still(
    image: Image.Image | Planes, size: tuple[int, int], variants: list[Variant], folder: Path
) -> dict[str, tuple[int, int]]:
    made = {}
    for variant in sorted(variants, key=largest_side, reverse=True):
        try:
            fitting = fitted(*size, largest_side(variant))
            image = image.resized(fitting) if isinstance(image, Planes) else resized(image, fitting)
            encode(image, variant, folder / file_name(variant))
        except Exception as error:
            raise encoding_failure(error, variant.name) from error
        made[variant.name] = image.size
    return made


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` at exactly `size`, by LANCZOS; the image itself where it has that size."""
    if image.size == size:
        return image
    return shrunk(image, size) if image.mode == "L" else image.resize(size, Image.Resampling.LANCZOS)
