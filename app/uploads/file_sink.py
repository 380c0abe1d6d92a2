"""Chooses the file among the parts of an upload, counts its bytes and recognises its format."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from app.runtime.sizes import format_size
from app.server.problems import ProblemError
from app.uploads.file_kinds import explain_refusal
from app.uploads.multipart import MULTIPART, MULTIPART_ALLOWANCE, Form, Part
from workers.formats import SNIFF_BYTES, SOURCE_FORMATS, sniff

ACCEPT = ", ".join(
    (MULTIPART, *(each.media_type for each in SOURCE_FORMATS.values()), "application/octet-stream")
)
"""What an upload may be, as an Accept field. Other types of images may be declared, too: the bytes decide."""
_SEND_A_FILE = "Add the photo as a file by the name of file, as curl's -F file=@photo.jpg does."
_TEXT_AS_FILE = (
    "The form's field named file is text, not a file. With curl, write @ before the name of the file "
    "(-F file=@photo.jpg); in a page, append the File object itself."
)
_EMPTY = "The file is empty (0 bytes): no photo was chosen, or it could not be read."
_FILE_PART = b"file"
"""The name of the part that is the file even if others come before it."""
RAW_BODY = Part(_FILE_PART, is_file=True)
"""Stands for a body that is no form."""


class TooLarge(ProblemError):
    """Raised when a file has, or a request declares, more bytes than are accepted."""

    slug = "too-large"

    def __init__(self, max_bytes: int, declared: int | None = None, detail: str | None = None) -> None:
        size = "The file is too large" if declared is None else f"The upload has {_both_units(declared)}"
        super().__init__(
            detail or f"{size}: at most {_both_units(max_bytes)} are accepted.",
            headers=[("Upload-Limit", f"max-size={max_bytes}")],
        )


def _both_units(size: int) -> str:
    """A size as people read it, and to the byte, for files that are hardly too large."""
    return f"{format_size(size)} ({size} bytes)" if size >= 1024 else format_size(size)


class UnsupportedType(ProblemError):
    """Raised when the declared media type, or the first bytes, are not those of an accepted image."""

    slug = "unsupported-media-type"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=[("Accept", ACCEPT)])


class UnsupportedCoding(ProblemError):
    """Raised when the body has a Content-Encoding."""

    slug = "unsupported-coding"

    def __init__(self, coding: str) -> None:
        super().__init__(
            f"The body is sent with Content-Encoding: {coding[:60]}, and none is undone here. "
            "Send the photo as it is, without that field.",
            headers=[("Accept-Encoding", "identity")],
        )


class NoFile(ProblemError):
    """Raised when the form holds no file, or the file no bytes."""

    slug = "no-file"


@dataclass(frozen=True, slots=True)
class Received:
    """A body that was read: the file's size in bytes, its sniffed format, and how many files were ignored.

    `name` is the file's name, if a form gave it one.
    """

    size: int
    format: str
    ignored_files: int
    name: str | None = None


class Target(Protocol):
    """Where the bytes of a file go: a spool, or a digest that keeps none of them."""

    async def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes, of which a view is not valid after that. Raises StoreFull."""

    async def restart(self) -> None:
        """Forget what was written."""


class _Role(Enum):
    """What is done with the bytes of a part."""

    CANDIDATE = auto()
    """They are kept until they tell whether it is an image."""
    CHOSEN = auto()
    REJECTED = auto()
    """A file that is no image. Its bytes count to those that a form may add to its files."""
    IGNORED = auto()


class FileSink:
    """Passes the bytes of an upload's file to a target.

    In a form the file is the part named `file`, else the first file part that is an image. Parts without any
    byte do not count. If the part named `file` comes after another image, the target is restarted.
    """

    def __init__(self, target: Target, max_bytes: int) -> None:
        """`max_bytes` bounds the file, and all files of a form together."""
        self._target = target
        self._max_bytes = max_bytes
        self._part: Part | None = None  # the one whose bytes arrive
        self._role = _Role.IGNORED
        self._head = b""  # its first bytes, while it is a candidate
        self._chosen: Part | None = None
        self._chosen_bytes = 0
        self._format = ""
        self._files = 0
        self._file_bytes = 0  # of all files, without the rejected ones
        self._rejected_bytes = 0
        self._rejected_head = b""  # of the first rejected file
        self._has_text_as_file = False

    async def write(self, part: Part, data: bytes | memoryview) -> None:
        """Take the next bytes of the upload, and the part that they belong to.

        Raises:
            TooLarge: the files have too many bytes.
            UnsupportedType: the part named `file` is no accepted image.
            StoreFull: the target has no room.
        """
        if not data:
            return
        if part is not self._part:
            await self._decide()
            self._begin(part)
        if not part.is_file:
            self._has_text_as_file = self._has_text_as_file or part.name == _FILE_PART
            return
        if self._role is _Role.REJECTED:
            self._rejected_bytes += len(data)
            return
        self._file_bytes += len(data)
        if self._file_bytes > self._max_bytes:
            raise self._too_large()
        if self._role is _Role.CANDIDATE:
            self._head += data
            if len(self._head) >= SNIFF_BYTES:
                await self._decide()
        elif self._role is _Role.CHOSEN:
            await self._pass_on(data)

    def check_overhead(self, overhead: int) -> None:
        """Check what a form has added to its files; `overhead` are its bytes that belong to no file.

        Raises:
            TooLarge: it is too much.
            UnsupportedType: it is too much because of files that are no images.
        """
        if overhead + self._rejected_bytes <= MULTIPART_ALLOWANCE:
            return
        if self._rejected_bytes and self._chosen is None:
            raise UnsupportedType(explain_refusal(self._rejected_head))
        detail = f"Beside the file the form has more than {format_size(MULTIPART_ALLOWANCE)}: leave that out."
        raise TooLarge(self._max_bytes, detail=detail)

    async def finish(self, form: Form | None) -> Received:
        """What was received, once all of the body has been written.

        Raises:
            NoFile: no part is a file, or none of the files has any bytes.
            UnsupportedType: none of the files is an accepted image.
            StoreFull: the target has no room.
        """
        await self._decide()
        if self._chosen is not None:
            return Received(self._chosen_bytes, self._format, self._files - 1, self._chosen.file_name)
        if self._files:
            raise UnsupportedType(explain_refusal(self._rejected_head))
        if form is None or form.files:
            raise NoFile(_EMPTY)
        raise NoFile(_TEXT_AS_FILE if self._has_text_as_file else f"The form has no file. {_SEND_A_FILE}")

    def _begin(self, part: Part) -> None:
        self._part = part
        self._role = _Role.IGNORED
        if part.is_file:
            self._files += 1
            if self._chosen is None or (part.name == _FILE_PART != self._chosen.name):
                self._role = _Role.CANDIDATE

    async def _decide(self) -> None:
        """Choose the candidate if it is an image."""
        if self._role is not _Role.CANDIDATE or self._part is None:
            return
        head, self._head = self._head, b""
        found = sniff(head[:SNIFF_BYTES])
        if found is None:
            if self._part.name == _FILE_PART:
                raise UnsupportedType(explain_refusal(head[:SNIFF_BYTES]))
            self._role = _Role.REJECTED
            self._rejected_head = self._rejected_head or head[:SNIFF_BYTES]
            self._rejected_bytes += len(head)
            self._file_bytes -= len(head)
            return
        if self._chosen is not None:
            await self._target.restart()
        self._role = _Role.CHOSEN
        self._chosen, self._chosen_bytes, self._format = self._part, 0, found
        await self._pass_on(head)

    async def _pass_on(self, data: bytes | memoryview) -> None:
        self._chosen_bytes += len(data)
        await self._target.write(data)

    def _too_large(self) -> TooLarge:
        if self._files == 1:
            return TooLarge(self._max_bytes)
        detail = f"The files are too large together: at most {_both_units(self._max_bytes)} are accepted."
        return TooLarge(self._max_bytes, detail=detail)
