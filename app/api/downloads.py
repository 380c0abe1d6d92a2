"""Files as answers: whole, in part, or not at all where the client has them already."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.job import Job
from app.server.conditional import is_not_modified
from app.server.headers import parse_range
from app.server.middleware import was_head
from app.server.streaming import HeldResponse
from app.storage.interface import SIGNED_URL_LIFETIME_S, Blob, Signer

_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store: its size in bytes, the SHA-256 of its bytes in hexadecimal, and its type.

    `disposition` is its Content-Disposition. `open` opens it to be read from the first to the last position
    that it is given.
    """

    size: int
    digest: str
    media_type: str
    disposition: str
    open: Callable[[int, int], Awaitable[Blob]]

    @property
    def etag(self) -> str:
        """Its strong entity tag."""
        return f'"{self.digest}"'

    async def answer(self, request: Request, headers: Mapping[str, str]) -> Response:
        """The answer to a GET, which may be conditional or want a range, with further header fields.

        Raises:
            PreconditionFailed, RangeNotSatisfiable: the request cannot be met.
            NotFound, OSError: the file is gone, or cannot be read now.
        """
        fields = {**headers, "Accept-Ranges": "bytes"}
        if is_not_modified(request.headers, self.etag):
            return Response(status_code=304, headers={"ETag": self.etag, **fields})
        span = None
        if request.headers.get("if-range", self.etag) == self.etag:
            span = parse_range(request.headers.get("range"), self.size)
        if span is None:
            return await self.whole(fields)
        first, last = span
        fields["Content-Range"] = f"bytes {first}-{last}/{self.size}"
        return await self._part(first, last, 206, fields)

    async def whole(self, headers: Mapping[str, str]) -> Response:
        """The file with status 200 and these header fields. Raises NotFound, OSError."""
        return await self._part(0, self.size - 1, 200, headers)

    async def _part(self, first: int, last: int, status: int, headers: Mapping[str, str]) -> Response:
        blob = await self.open(first, last)
        return HeldResponse(
            _pieces(blob, first, last),
            blob.close,
            status_code=status,
            headers={
                "ETag": self.etag,
                "Content-Disposition": self.disposition,
                "Content-Length": str(last - first + 1),
                **headers,
            },
            media_type=self.media_type,
        )


async def redirect(
    signer: Signer, request: Request, job: Job, variant: str, left_s: float
) -> RedirectResponse:
    """302 to a signed URL of a variant whose image lives for `left_s` more seconds.

    The URL lives no longer than the image, and whoever takes the answer from a cache has at least half of the
    URL's life left to follow it. One that is signed for HEAD is good for nothing else, so it is not kept; nor
    is that of a provisional variant, which may be removed at any moment.
    Conditions and ranges are for the server that the client is sent to (RFC 9110, section 13.2.1).

    Raises:
        OSError: it cannot be signed now.
    """
    lifetime_s = max(1, int(min(SIGNED_URL_LIFETIME_S, left_s)))
    is_head = was_head(request.scope)
    url = await signer.sign(job, variant, "HEAD" if is_head else "GET", lifetime_s)
    is_kept = not is_head and not job.made[variant].provisional
    cache_control = f"public, max-age={lifetime_s // 2}" if is_kept else "no-store"
    return RedirectResponse(url, 302, {"Cache-Control": cache_control})


def attachment(name: str) -> str:
    """A Content-Disposition by which a file is saved under this name (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    if plain == name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def _pieces(blob: Blob, first: int, last: int) -> AsyncGenerator[bytes]:
    """The bytes from `first` to `last` of a file, piece by piece.

    Raises:
        OSError: the file ends before `last`.
    """
    while first <= last:
        piece = await blob.read(first, min(_PIECE_BYTES, last - first + 1))
        if not piece:
            raise OSError("the file is shorter than it was")
        first += len(piece)
        yield piece
        del piece  # see HeldResponse.stream_response
