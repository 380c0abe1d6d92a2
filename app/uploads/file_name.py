"""The file name in a form's part (RFC 7578), as clients of all kinds send it, made safe to show.

It never becomes part of a path: it is only given back, in the job's document and with the original.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from app.uploads.reference import UNPRINTABLE

MAX_NAME_BYTES = 255
"""Bytes of a name in UTF-8: what file systems take."""
_EXTENDED = re.compile(rb"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]+")


def file_name(parameters: Mapping[bytes, bytes]) -> str | None:
    r"""The name in the parameters of a Content-Disposition; None if there is none, or nothing of it is left.

    `filename*` (RFC 8187) goes before `filename`, which is UTF-8, or else ISO 8859-1; browsers write its
    quotes as %22. Folders, of Windows too, and what cannot be printed are taken off; among that what changes
    the direction of text, by which `photo\u202egpj.exe` would look like a JPEG. Of a name longer than
    `MAX_NAME_BYTES` the begin is kept.
    """
    text = _extended(parameters.get(b"filename*", b""))
    if text is None:
        text = _decode(parameters.get(b"filename", b"")).replace("%22", '"')
    text = re.split(r"[/\\]", text)[-1]
    name = _UNPRINTABLE.sub("", text).strip().encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return None if name in ("", ".", "..") else name


def _extended(value: bytes) -> str | None:
    """The text of a parameter in the form of RFC 8187; None if it has another form."""
    found = _EXTENDED.fullmatch(value)
    if found is None:
        return None
    data = unquote_to_bytes(found[2])
    return _decode(data) if found[1].lower() == b"utf-8" else data.decode("latin-1")


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
