"""The far end of a store in a bucket: objects on an S3 server, each call within bounded time.

Credentials, region and endpoint come from the usual AWS_… variables. Every failure is an OSError: what is not
there is a FileNotFoundError, and a server that refuses for want of space makes it StoreFull.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from app.storage.interface import StoreFull, StoreUnavailable
from app.storage.s3.download import Download

_ANSWER = 2.0
"""Seconds for one answer to a call that moves hardly any bytes."""
_PATIENCE = 3.0
"""Seconds for such a call with its repetitions."""
_SMALL = 2**20
_SLOWEST = 4 * 2**20
"""Bytes per second; a transfer gets more time for its size, but no more than this asks."""
_PART = 5 * 2**20
_PARTS_AT_ONCE = 2
_PAGE = 1000
_PIECE = 128 * 2**10
_MOST_READ = 64 * 2**20
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioStorageQuotaExceeded"}


class ObjectChanged(StoreUnavailable):
    """Raised when an object is not what it was when it was last read or written."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing: its name below the prefix, bytes, and the second it was written in."""

    name: str
    size: int
    written_at: float


class S3Client:
    """The objects below one prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def connect(self) -> None:
        """Read the AWS_… variables; nothing is sent yet. Raises OSError when they make no sense."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if endpoint and not _is_endpoint(endpoint):
            shown = (
                "" if "@" in endpoint else f"={endpoint!r}"
            )  # whoever writes one there means it for a password
            raise OSError(errno.EINVAL, f"AWS_ENDPOINT_URL{shown} is no http:// or https:// address")
        try:
            # The library keeps the time of calls that move little. What moves more is given time by its size,
            # and that is kept here: a call that is cancelled as the process ends would have it complain.
            self._small, self._large = (self._client(endpoint, seconds) for seconds in (_ANSWER, 3600.0))
        except BaseError as error:
            raise OSError(errno.EINVAL, _reason(str(error))) from None

    def _client(self, endpoint: str, seconds: float) -> S3Store:
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=1),
                "timeout": timedelta(seconds=seconds),
            },
            retry_config={
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=_PATIENCE - _ANSWER),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=50),
                    "max_backoff": timedelta(milliseconds=500),
                    "base": 2,
                },
            },
        )

    def _for(self, size: int) -> S3Store:
        return self._small if size <= _SMALL else self._large

    async def get(self, name: str) -> tuple[bytes, str]:
        """A small object, and its version. Raises FileNotFoundError."""
        async with _within(_PATIENCE):
            result = await obstore.get_async(self._small, name)
            if result.meta["size"] > _MOST_READ:
                raise StoreUnavailable(errno.EFBIG, f"{name} is too large")
            return bytes(await result.bytes_async()), result.meta["e_tag"] or ""

    async def put(self, name: str, data: bytes) -> None:
        """Write an object, whatever was there."""
        async with _within(_PATIENCE + len(data) / _SLOWEST):
            await obstore.put_async(
                self._for(len(data)), name, data, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )

    async def send(self, name: str, path: Path, size: int) -> None:
        """Write a file of `size` bytes, at most 10 MiB of it in memory at once."""
        async with _within(_PATIENCE + size / _SLOWEST):
            await obstore.put_async(
                self._for(size), name, path, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )

    async def create(self, name: str, data: bytes) -> str:
        """Write a small object that must not be there yet; its version. Raises FileExistsError."""
        async with _within(_PATIENCE):
            try:
                return (await obstore.put_async(self._small, name, data, mode="create"))["e_tag"] or ""
            except AlreadyExistsError:
                pass
        there, version = await self.get(name)
        if there != data:  # else it was written by a try whose answer did not come
            raise FileExistsError(errno.EEXIST, f"{name} is there already")
        return version

    async def replace(self, name: str, data: bytes, version: str) -> str:
        """Write a small object in place of a known version; the new version.

        Raises:
            Changed, FileNotFoundError: that version is not the one that is there.
        """
        for known in (version, version.strip('"')):  # Ceph before 17 takes the second alone
            async with _within(_PATIENCE):
                try:
                    result = await obstore.put_async(self._small, name, data, mode={"e_tag": known})
                except PreconditionError:
                    continue
                return result["e_tag"] or ""
        raise ObjectChanged(errno.ESTALE, f"{name} has changed")

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects, in no order; those that are not there are no matter."""
        if names:
            async with _within(_PATIENCE):
                await obstore.delete_async(self._small, names)

    async def list(self, folder: str) -> AsyncIterator[ObjectInfo]:
        """Every object below a folder, in the order of their names."""
        pages = aiter(obstore.list(self._small, folder, chunk_size=_PAGE))
        while True:
            try:
                async with _within(_PATIENCE):
                    page = await anext(pages)
            except StopAsyncIteration:
                return
            for meta in page:
                yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())

    async def download(self, name: str, first: int, last: int | None = None, piece: int = _PIECE) -> Download:
        """Bytes of an object from `first` to `last`, or its end, as they come; some `piece` of them at once.

        Raises:
            FileNotFoundError: there is none.
        """

        async def begin(offset: int) -> "obstore.GetResult":
            options: obstore.GetOptions = {"range": {"offset": offset}}
            if last is not None:
                options = {"range": (offset, last + 1)}
            async with _within(_PATIENCE):
                return await obstore.get_async(self._large, name, options=options)

        download = Download(begin, _within, _PATIENCE, piece)
        await download.open(first)
        return download


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in url and parts.port != 0
        )
    except ValueError:  # a port that is none
        return False


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Give a call so much time, and its failure a name."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreUnavailable(errno.ETIMEDOUT, f"no answer within {seconds:.1f} s") from None
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreUnavailable(errno.EIO, "there is no such bucket") from None
        raise FileNotFoundError(errno.ENOENT, _reason(str(error))) from None
    except BaseError as error:
        reason = _reason(str(error))
        if reason in _FULL:
            raise StoreFull(f"the server says {reason}") from None
        raise StoreUnavailable(errno.EIO, reason) from None


def _reason(told: str) -> str:
    """What is worth telling of an error's text, in one line: S3's own word for it if there is one."""
    if code := re.search(r"<Code>(\w+)</Code>", told):
        return code[1]
    if status := re.search(r"status code: (\d{3}[\w ]*)", told):
        return status[1]
    if "kind: Timeout" in told:
        return f"no answer within {_ANSWER:.0f} s"
    if "error sending request" in told:
        return "the server cannot be reached"
    return told.partition("\n")[0][:200]
