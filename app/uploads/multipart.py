"""Reads a body of multipart/form-data (RFC 7578, RFC 2046) as it arrives.

The cost is bounded, whatever the body holds. Delimiters are found by searches that run in C, so bytes that
look like one almost everywhere cost no more than others. A part's header is parsed once, when all of it is
there, and is short. The number of parts is bounded, too.

The reader is lenient where clients differ and no meaning is lost: there may be a preamble and an epilogue,
lines may end in LF alone if the first delimiter does, delimiters may be followed by spaces, and header fields
may be folded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Any

from app.server.problems import ProblemError
from app.uploads.file_name import file_name

MULTIPART = "multipart/form-data"
MULTIPART_ALLOWANCE = 64 * 1024
"""Bytes that a form may add to the files in it: delimiters, header fields, text fields and what is around."""
MAX_PARTS = 1000
MAX_PART_HEADER = 8 * 1024
"""Bytes of the header fields of one part."""
MAX_PART_FIELDS = 64
"""Header fields of one part."""
_MAX_BOUNDARY = 200
"""Bytes of a boundary. RFC 2046 allows 70; some clients take more."""
_MAX_PARAMETERS = 32
_LINE_END = b"\r\n"
_MAX_PADDING = 32
"""Spaces after a boundary."""

_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^;"]*))', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')
_FIELD = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\r\n]*)\r?$", re.MULTILINE)
_FOLD = re.compile(rb"\r?\n[ \t]+")
_HEADER_END = re.compile(rb"\n\r?\n")
_SET_BY_CLIENT = "Let the program that sends the form set Content-Type itself."
_PLAIN_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")


class MalformedForm(ProblemError):
    """Raised when the body is not well-formed multipart/form-data."""

    slug = "malformed-multipart"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of a form: its name, whether it is a file, and which name the file has, if any.

    Parts are told apart by identity.
    """

    name: bytes = b""
    is_file: bool = False
    file_name: str | None = None


class _State(Enum):
    PREAMBLE = auto()
    HEADER = auto()
    DATA = auto()
    END = auto()


class Form:
    """The reader of one form.

    `files` counts the file parts so far, empty ones too, and `overhead` the bytes read so far that are not
    the content of a file part.
    """

    def __init__(self, boundary: bytes) -> None:
        self.files = 0
        self.overhead = -len(_LINE_END)  # it is put before the body, as one precedes every delimiter
        self._is_empty = True
        self._buffer: bytes | memoryview = _LINE_END
        self._position = 0  # what stands before it in the buffer has been read
        self._state = _State.PREAMBLE
        self._parts = 0
        self._part = Part()
        self._boundary = b"\n--" + boundary
        self._max_delimiter = len(b"\r\n--") + len(boundary) + _MAX_PADDING + len(b"\r\n")
        # The end of the line is not part of the delimiter, so that every header begins with one.
        line = b"--%s(?:(--)|[ \t]{0,%d}(?=(%%s)))" % (re.escape(boundary), _MAX_PADDING)
        self._crlf_delimiter = re.compile(b"\r\n" + line % b"\r\n")
        self._lf_delimiter = re.compile(b"\n" + line % b"\n")
        self._delimiter = re.compile(b"\n" + line % b"\r?\n")  # of the first one

    @property
    def ended(self) -> bool:
        """Whether the closing boundary was read."""
        return self._state is _State.END

    def check_end(self) -> None:
        """Check that the form is complete, when its body has ended.

        Raises:
            MalformedForm: it is not.
        """
        if self._is_empty:
            raise MalformedForm("The body is empty: it has 0 bytes, and no form.")
        if self._state is _State.PREAMBLE:
            delimiter = self._boundary[1:61].decode("ascii", "replace")
            raise MalformedForm(
                "The body is not the form that its Content-Type announces: it has no line "
                f"{delimiter}. {_SET_BY_CLIENT}"
            )
        if self._state is not _State.END:
            raise MalformedForm(
                "The form is cut off: the line that ends it is missing. Send all of it again."
            )

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[Part, bytes | memoryview]]:
        """Read the next piece of the body: the content in it, with the part that it belongs to.

        Each part comes once without content, when it begins. Of a view, which begins where its object does,
        nothing is kept; what comes of it are views too.

        Raises:
            MalformedForm: the form is malformed.
        """
        self._is_empty &= not data
        self._buffer = b"".join((self._buffer, data)) if self._buffer else data
        more = True
        while more:
            match self._state:
                case _State.PREAMBLE:
                    content, more = self._read_until_delimiter()
                    self.overhead += len(content)
                    if self.overhead > MULTIPART_ALLOWANCE:
                        self.check_end()
                case _State.HEADER:
                    more = self._read_header()
                    if more:
                        yield self._part, b""
                case _State.DATA:
                    content, more = self._read_until_delimiter()
                    if not self._part.is_file:
                        self.overhead += len(content)
                    if content:
                        yield self._part, content
                case _State.END:
                    self.overhead += len(self._buffer) - self._position
                    self._position = len(self._buffer)
                    more = False
        self._buffer = bytes(self._buffer[self._position :])
        self._position = 0

    def _find(self, wanted: bytes, start: int) -> int:
        """Where `wanted` begins in the buffer, from `start` on; negative if it is not there."""
        buffer = self._buffer
        searched: Any = buffer.obj if isinstance(buffer, memoryview) else buffer  # a view has no such method
        found: int = searched.find(wanted, start, len(buffer))
        return found

    def _read_until_delimiter(self) -> tuple[bytes | memoryview, bool]:
        """The bytes up to the next delimiter, which is passed over; and whether there was one.

        Without one, what the next piece may complete to a delimiter is left unread.
        """
        buffer, start = self._buffer, self._position
        near = self._find(self._boundary, start)  # much faster than the expression where there is none
        found = None if near < 0 else self._delimiter.search(buffer, max(start, near - 1))
        if found is None:
            self._position = self._find_begun(max(start, len(buffer) - self._max_delimiter))
            return buffer[start : self._position], False
        self._position = found.end()
        self.overhead += found.end() - found.start()
        if self._state is _State.PREAMBLE:
            self._delimiter = self._lf_delimiter if found[2] == b"\n" else self._crlf_delimiter
        self._state = _State.END if found[1] else _State.HEADER
        return buffer[start : found.start()], True

    def _find_begun(self, start: int) -> int:
        """Where a delimiter begins that ends in the next piece, perhaps; else the end of the buffer."""
        begin = b"\r" + self._boundary if self._delimiter is self._crlf_delimiter else self._boundary
        at = self._find(begin[:1], start)
        while at >= 0 and not begin.startswith(bytes(self._buffer[at : at + len(begin)])):
            at = self._find(begin[:1], at + 1)
        return len(self._buffer) if at < 0 else at

    def _read_header(self) -> bool:
        """Read the header of a part, if all of it has arrived; whether it has."""
        buffer, start = self._buffer, self._position
        found = _HEADER_END.search(buffer, start, start + MAX_PART_HEADER)
        if found is None:
            if len(buffer) - start >= MAX_PART_HEADER:
                detail = f"A field or file of the form has header lines of more than {MAX_PART_HEADER} bytes."
                raise MalformedForm(detail)
            return False
        self._position = found.end()
        self.overhead += found.end() - start
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedForm(f"The form has more than {MAX_PARTS} fields and files.")
        self._part = _parse_header(bytes(buffer[start : found.end()]))
        if self._part.is_file:
            self.files += 1
        self._state = _State.DATA
        return True


def _parse_header(header: bytes) -> Part:
    """The part that a header with these lines begins.

    A file is what has a file name, even an empty one, or the type of an image.
    """
    header = _FOLD.sub(b" ", header.strip(b"\r\n"))
    lines = len(header.splitlines())
    if lines > MAX_PART_FIELDS:
        raise MalformedForm(f"A field or file of the form has more than {MAX_PART_FIELDS} header lines.")
    found = _FIELD.findall(header)
    if len(found) != lines:
        raise MalformedForm(
            "A field or file of the form does not begin with header lines such as "
            '\'Content-Disposition: form-data; name="file"; filename="photo.jpg"\' and an empty line.'
        )
    fields = {name.lower(): value.strip() for name, value in found}
    _, parameters = parse_parameters(fields.get(b"content-disposition", b""))
    is_file = b"filename" in parameters or b"filename*" in parameters
    is_file = is_file or fields.get(b"content-type", b"").lower().startswith(b"image/")
    encoding = fields.get(b"content-transfer-encoding", b"").lower()
    if is_file and encoding not in _PLAIN_ENCODINGS:
        shown = encoding[:40].decode("latin-1")
        raise MalformedForm(
            f"The file is sent as text (Content-Transfer-Encoding: {shown}). Send its bytes as they are."
        )
    return Part(parameters.get(b"name", b""), is_file, file_name(parameters) if is_file else None)


def parse_parameters(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The main value of a field such as Content-Type, in lower case, and its parameters.

    Names of parameters are in lower case; of a repeated one the first counts. No more than a few are read.
    A backslash escapes a quote or a backslash; before anything else it is one, as in `C:\\photo.jpg`.
    """
    parameters: dict[bytes, bytes] = {}
    for found in islice(_PARAMETER.finditer(value), _MAX_PARAMETERS):
        name, quoted, bare = found.groups(b"")
        text = _ESCAPED.sub(rb"\1", quoted) if quoted else bare.strip()
        parameters.setdefault(name.lower(), text)
    return value.partition(b";")[0].strip().lower(), parameters


def form_in(content_type: str | None) -> Form | None:
    """A reader for the form that a Content-Type announces; None where the body itself is the file.

    Raises:
        MalformedForm: the Content-Type names no boundary, or an impossible one.
    """
    kind, parameters = parse_parameters((content_type or "").encode("latin-1", "replace"))
    if kind != MULTIPART.encode():
        return None
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise MalformedForm(f"Content-Type is {MULTIPART} without its boundary. {_SET_BY_CLIENT}")
    if not re.fullmatch(rb"[ -~]{0,%d}[!-~]" % (_MAX_BOUNDARY - 1), boundary):
        raise MalformedForm(
            f"The boundary in Content-Type is not one of 1 to {_MAX_BOUNDARY} printable ASCII characters. "
            f"{_SET_BY_CLIENT}"
        )
    return Form(boundary)
