"""Answers as the bytes that go over the wire, for requests that the application never sees."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE


def field_line(field: tuple[bytes, bytes]) -> bytes:
    """One header field as it is written in a head."""
    return field[0] + b": " + field[1] + b"\r\n"


@dataclass(frozen=True, slots=True)
class RawResponse:
    """The status line and fields without the empty line that ends them, and the body."""

    head: bytes
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "RawResponse":
        """The bytes of a response that is not streamed."""
        lines = [STATUS_LINE[response.status_code], *map(field_line, response.raw_headers)]
        return cls(b"".join(lines), bytes(response.body))

    def with_lines(self, lines: bytes) -> "RawResponse":
        """The answer with further lines in its head."""
        return RawResponse(self.head + lines, self.body)

    def encode(self, fields: Iterable[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
        """The whole answer with further header fields."""
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        return b"".join((self.head, *map(field_line, fields), end, self.body))
