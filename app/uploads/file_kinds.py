"""Names what a file is that is not taken, by its first bytes, in words for the person who sent it."""

import re
from collections.abc import Callable

from workers.formats import SOURCE_NAMES

_SAVE = "Save it as one of these and send that."
_EXPORT = "Export it as a JPEG or PNG and send that."
_STILL = "Send a still picture, such as a frame of it."
_UNPACK = "Send the photo itself, one in each upload."
_PLAIN_BYTES = "Send the bytes of the picture themselves, not this text."
_SAVED_PAGE = "Perhaps it was saved in the place of the photo."
_NONE = ""

_RAW = "a camera's raw file"
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    # pictures
    (b"\xff\x0a", "a JPEG XL image", _SAVE),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", _SAVE),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", _SAVE),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", _SAVE),
    (b"II\xbc\x01", "a JPEG XR image", _SAVE),
    (b"8BPS", "a Photoshop document (PSD)", _EXPORT),
    (b"gimp xcf", "a GIMP document (XCF)", _EXPORT),
    (b"\0\0\1\0", "a Windows icon (ICO)", _EXPORT),
    (b"\0\0\2\0", "a Windows cursor (CUR)", _EXPORT),
    (b"icns", "a macOS icon (ICNS)", _EXPORT),
    (b"%!PS", "a PostScript file (EPS or PS)", _EXPORT),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file (EPS)", _EXPORT),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", _EXPORT),
    (b"AT&TFORM", "a DjVu document", _EXPORT),
    (b"v/1\x01", "an OpenEXR image", _SAVE),
    (b"#?RADIANCE", "a Radiance HDR image", _SAVE),
    (b"qoif", "a QOI image", _SAVE),
    (b"BPG\xfb", "a BPG image", _SAVE),
    (b"FLIF", "a FLIF image", _SAVE),
    (b"DDS ", "a DirectDraw texture (DDS)", _SAVE),
    (b"\x8aMNG", "an MNG animation", _SAVE),
    (b"SIMPLE  =", "a FITS image", _SAVE),
    # raw files of cameras; most others are a kind of TIFF
    (b"FUJIFILMCCD-RAW", f"{_RAW} (Fujifilm RAF)", _EXPORT),
    (b"IIRO", f"{_RAW} (Olympus ORF)", _EXPORT),
    (b"IIRS", f"{_RAW} (Olympus ORF)", _EXPORT),
    (b"MMOR", f"{_RAW} (Olympus ORF)", _EXPORT),
    (b"IIU\0", f"{_RAW} (Panasonic RW2)", _EXPORT),
    (b"FOVb", f"{_RAW} (Sigma X3F)", _EXPORT),
    (b"\0MRM", f"{_RAW} (Minolta MRW)", _EXPORT),
    (b"II\x1a\0\0\0HEAPCCDR", f"{_RAW} (Canon CRW)", _EXPORT),
    # videos and sounds
    (b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)", _STILL),
    (b"FLV\x01", "a video (Flash)", _STILL),
    (b"\0\0\1\xba", "a video (MPEG)", _STILL),
    (b"\0\0\1\xb3", "a video (MPEG)", _STILL),
    (b"0&\xb2u\x8ef\xcf\x11", "a video or sound (WMV, WMA)", _STILL),
    (b"OggS", "a sound or video (Ogg)", _STILL),
    (b"ID3", "a sound (MP3)", _NONE),
    (b"fLaC", "a sound (FLAC)", _NONE),
    # documents and archives
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an older Office program", _EXPORT),
    (b"{\\rtf", "a text document (RTF)", _EXPORT),
    (b"PK\5\6", "an empty ZIP archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"\x1f\x8b", "a file compressed by gzip", _UNPACK),
    (b"BZh", "a file compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "a file compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd", _UNPACK),
    # what lies beside photos
    (b"\0\5\x16\7", "what macOS keeps beside a file (its name begins with ._)", "Send the photo itself."),
    (b"\0\0\0\1Bud1", "what macOS keeps in a folder (.DS_Store)", "Send the photo itself."),
    (b"L\0\0\0\1\x14\2\0", "a Windows shortcut (LNK)", "Send the photo itself."),
    (b"\x7fELF", "a program", _NONE),
    (b"MZ", "a program", _NONE),
    (b"\xcf\xfa\xed\xfe", "a program", _NONE),
    (b"\xca\xfe\xba\xbe", "a program", _NONE),
)
"""How files begin, what they are then, and what their sender can do."""
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"data:image/", "a data URL, which is text", _PLAIN_BYTES),
    (b"/9j/", "the base64 text of a JPEG", _PLAIN_BYTES),
    (b"iVBORw0KGgo", "the base64 text of a PNG", _PLAIN_BYTES),
    (b"R0lGOD", "the base64 text of a GIF", _PLAIN_BYTES),
    (b"UklGR", "the base64 text of a WebP", _PLAIN_BYTES),
    (b"version https://git-lfs", "a pointer of Git LFS", "Send the photo itself."),
    (b"{", "JSON text", _PLAIN_BYTES),
    (b"[", "JSON text", _PLAIN_BYTES),
    (b"", "text", _NONE),
)
"""How texts begin, what they are then, and what their sender can do. The last one fits every text."""

_BEGUN = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"skip", b"pnot", b"free")
_BRANDS: tuple[tuple[bytes, str, str], ...] = (
    (b"crx ", f"{_RAW} (Canon CR3)", _EXPORT),
    (b"qt  ", "a video (QuickTime, MOV)", _STILL),
    (b"M4A ", "a sound (M4A)", _NONE),
    (b"M4B ", "a sound (M4B)", _NONE),
    (b"3g", "a video (3GP)", _STILL),
    (b"mif1", "a HEIF image of another kind than HEIC and AVIF", _SAVE),
    (b"msf1", "a HEIF image of another kind than HEIC and AVIF", _SAVE),
    (b"avc", "a HEIF image of another kind than HEIC and AVIF", _SAVE),
    (b"jxs", "a HEIF image of another kind than HEIC and AVIF", _SAVE),
)
_RIFF = {
    b"AVI ": ("a video (AVI)", _STILL),
    b"WAVE": ("a sound (WAV)", _NONE),
    b"WEBP": ("a WebP image that is cut off or broken at its start", "Open it and save it again."),
}
_MARKUP = re.compile(
    rb"<(?:(svg)[\s>]|(!doctype\s+html|html|head|body|script|div|p)\b|(\?xml|[a-z]))", re.IGNORECASE
)
_SVG = re.compile(rb"<svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
_OFFICE = re.compile(rb"\[Content_Types\]\.xml|word/|xl/|ppt/|opendocument|docProps/")
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")

Named = tuple[str, str]
"""What a file is, and what its sender can do about it, which may be nothing."""


def explain_refusal(head: bytes) -> str:
    """What the file that begins with `head` is, what is accepted in its place, and what its sender can do."""
    kind, remedy = _name(head)
    return f"The file is {kind}. Accepted are {SOURCE_NAMES}. {remedy}".rstrip()


def explain_media_type(media_type: str) -> str:
    """Why a body whose Content-Type is this is not taken, and how it is sent."""
    if media_type == "application/x-www-form-urlencoded":
        return (
            "Content-Type is application/x-www-form-urlencoded, as curl's -d and --data-binary send it: "
            "send the photo as a form (-F file=@photo.jpg), or name its type (-H 'Content-Type: image/jpeg')."
        )
    return (
        f"Content-Type is {media_type[:60]}, which is not accepted. Send the photo as the file of a form "
        "(multipart/form-data), or as the body itself with its own type or application/octet-stream. "
        f"Accepted are {SOURCE_NAMES}."
    )


def _name(head: bytes) -> Named:
    if not head.strip(b"\0"):
        return (
            "nothing but zero bytes",
            "It was probably not copied or stored whole; look at it, and send it again.",
        )
    for find in _FINDERS:
        found = find(head)
        if found is not None:
            return found
    return "of a kind that is not known here", _NONE


def _by_start(head: bytes) -> Named | None:
    for start, kind, remedy in _STARTS:
        if head.startswith(start):
            return kind, remedy
    if head[128:132] == b"DICM":
        return "a medical image (DICOM)", _EXPORT
    return ("a TAR archive", _UNPACK) if head[257:262] == b"ustar" else None


def _by_container(head: bytes) -> Named | None:
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        named = ((kind, remedy) for start, kind, remedy in _BRANDS if brand.startswith(start))
        return next(named, ("a video (MP4)", _STILL))
    if head[4:8] in _QUICKTIME_BOXES:
        return "a video (QuickTime, MOV)", _STILL
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"PK\3\4":
        is_office = _OFFICE.search(head) is not None
        return ("an Office document", _EXPORT) if is_office else ("a ZIP archive", _UNPACK)
    if b"%PDF-" in head:
        return "a PDF document", _EXPORT
    return None


def _by_beginning(head: bytes) -> Named | None:
    """A file of a format that is accepted, but not this kind of it."""
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"CgBI":
        return "a PNG in Apple's private variant (CgBI)", _SAVE
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and len(head) >= 8:
        kind = " (Canon CR2)" if head[8:10] == b"CR" else " (such as DNG, NEF or ARW)"
        return f"{_RAW}{kind}", _EXPORT
    name = next((name for start, name in _BEGUN.items() if head.startswith(start)), None)
    return (
        None
        if name is None
        else (f"a {name} that is cut off or broken at its start", "Open it and save it again.")
    )


def _by_text(head: bytes) -> Named | None:
    is_wide = head.startswith(_BYTE_ORDER_MARKS[1:])
    text = head.replace(b"\0", b"") if is_wide else head.removeprefix(_BYTE_ORDER_MARKS[0])
    if not is_wide and (_NOT_TEXT.search(text) or not _is_utf8(text)):
        return None
    text = text.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").strip()
    if _SVG.search(text):
        return "an SVG drawing", _EXPORT
    markup = _MARKUP.match(text)
    if markup is not None:
        return ("an XML document", _NONE) if markup[3] else ("an HTML page", _SAVED_PAGE)
    return next((kind, remedy) for start, kind, remedy in _TEXTS if text.startswith(start))


def _is_utf8(text: bytes) -> bool:
    """Whether it is UTF-8, or the first bytes of a longer text in it."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


_FINDERS: tuple[Callable[[bytes], Named | None], ...] = (_by_start, _by_container, _by_beginning, _by_text)
