"""Finds the file in a body of multipart/form-data (RFC 7578) as the body arrives."""

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.server.problems import ProblemError

MULTIPART = "multipart/form-data"
MULTIPART_ALLOWANCE = 64 * 1024
"""Bytes that a form may add to the file in it."""


class MalformedForm(ProblemError):
    """Raised when the body is not well-formed multipart/form-data."""

    slug = "malformed-multipart"


@dataclass(slots=True)
class Form:
    """Takes the first file out of a multipart body, which python-multipart parses.

    `files` counts the file parts so far; `ended` tells whether the closing boundary has been read.
    """

    boundary: bytes
    files: int = 0
    ended: bool = False
    _in_first_file: bool = False
    _header_name: bytearray = field(default_factory=bytearray)
    _header_value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _found: list[bytes] = field(default_factory=list)
    _parser: Any = None

    def __post_init__(self) -> None:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> bytes:
        """Parse the next piece of the body; returns the bytes of the first file in it.

        Raises:
            FormParserError: the body is malformed.
        """
        if not self.ended:  # what follows the closing boundary is an epilogue, which is ignored (RFC 2046)
            self._parser.write(data)
        found, self._found = self._found, []
        return b"".join(found)

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        """Decide what the part is: a file has a file name in its Content-Disposition."""
        self._in_first_file = False
        _, options = parse_options_header(self._disposition)
        if b"filename" in options or b"filename*" in self._disposition.lower():
            self.files += 1
            self._in_first_file = self.files == 1

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_first_file:
            self._found.append(data[start:end])

    def _on_end(self) -> None:
        self.ended = True


def form_in(content_type: str | None) -> Form | None:
    """A parser for the form that a Content-Type announces; None where the body itself is the file.

    Raises:
        MalformedForm: the Content-Type names no boundary, or an impossible one.
    """
    kind, options = parse_options_header(content_type)
    if kind != MULTIPART.encode():
        return None
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise MalformedForm("Content-Type names no boundary.")
    try:
        return Form(boundary)
    except FormParserError as error:
        raise MalformedForm(str(error)) from None
