"""Opens the thumbnail that cameras embed in the EXIF of a photo (its second directory, IFD1)."""

from io import BytesIO

from PIL import ExifTags, Image

from workers.thumbnail import EXIF_PREFIX

_MAX_PIXELS = 640 * 480
_OFFSET, _LENGTH = ExifTags.Base.JpegIFOffset, ExifTags.Base.JpegIFByteCount


def open_exif_thumbnail(segment: bytes, exif: Image.Exif) -> Image.Image:
    """The thumbnail in an EXIF segment, which has been read as `exif`: not decoded, nor upright yet.

    Raises any exception at all if it is absent or broken.
    """
    directory = exif.get_ifd(ExifTags.IFD.IFD1)
    start = len(EXIF_PREFIX) + directory[_OFFSET]
    image = Image.open(BytesIO(segment[start : start + directory[_LENGTH]]), formats=("JPEG",))
    # A thumbnail must be baseline (Exif 2.32, 4.5.5); thousands of progressive scans would be an attack.
    if image.width * image.height > _MAX_PIXELS or "progressive" in image.info:
        raise ValueError("the thumbnail is too large or progressive")
    return image
