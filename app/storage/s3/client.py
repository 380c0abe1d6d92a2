"""Calls to an S3 server: objects below one prefix of a bucket, each call within a bounded time.

Credentials, region and endpoint come from the usual AWS_… variables. Every failure is an OSError: an object
that is missing is a FileNotFoundError, a server that refuses for want of space is StoreFull, and everything
else is StoreUnavailable.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Bucket

from app.storage.interface import StoreFull, StoreUnavailable
from app.storage.s3.download import Download

_ANSWER_TIMEOUT_S = 2.0
"""For one answer to a call that moves few bytes."""
CALL_TIMEOUT_S = 3.0
"""For such a call with its repetitions, and for the next piece of a download."""
_SMALL_BYTES = 2**20
"""Up to this size an object counts as few bytes."""
_MIN_UPLOAD_RATE = 4 * 2**20
"""Bytes per second. A larger object gets more time for its size, but no more than this rate needs."""
_UNLIMITED_TIMEOUT_S = 3600.0
_PART_BYTES = 5 * 2**20
"""The smallest part of a multipart upload that S3 allows."""
_MAX_PARTS_AT_ONCE = 2
_PAGE_NAMES = 1000
"""Names in one page of a listing: the most that S3 gives."""
_PIECE_BYTES = 128 * 2**10
_MAX_GET_BYTES = 64 * 2**20
_QUOTA_CODES = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioStorageQuotaExceeded"}
"""Error codes with which Ceph, MinIO and others refuse a write for want of space."""


class ObjectChanged(StoreUnavailable):
    """Raised when an object is not the version that it was when it was last read or written."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing: its name below the prefix, its bytes, and the second it was written in."""

    name: str
    size: int
    written_at: float


class S3Client:
    """The objects below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Connects to nothing yet."""
        self._bucket = bucket
        self._prefix = prefix

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def connect(self) -> None:
        """Read the AWS_… variables. Nothing is sent yet.

        Raises:
            OSError: they make no sense.
        """
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if endpoint and not _is_endpoint(endpoint):
            shown = "" if "@" in endpoint else f"={endpoint!r}"  # what stands before an @ may be a password
            raise OSError(errno.EINVAL, f"AWS_ENDPOINT_URL{shown} is no http:// or https:// address")
        try:
            # The library limits the time of calls that move few bytes. Calls that move more get time by their
            # size, and that is limited here, with asyncio: a request of the library that is cancelled while
            # the process ends would make it log an error.
            self._small = self._open_bucket(endpoint, _ANSWER_TIMEOUT_S)
            self._large = self._open_bucket(endpoint, _UNLIMITED_TIMEOUT_S)
        except BaseError as error:
            raise OSError(errno.EINVAL, _reason(str(error))) from None

    def _open_bucket(self, endpoint: str, timeout_s: float) -> Bucket:
        return Bucket(
            self._bucket,
            prefix=self._prefix or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=1),
                "timeout": timedelta(seconds=timeout_s),
            },
            retry_config={
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=CALL_TIMEOUT_S - _ANSWER_TIMEOUT_S),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=50),
                    "max_backoff": timedelta(milliseconds=500),
                    "base": 2,
                },
            },
        )

    def _bucket_for(self, size: int) -> Bucket:
        return self._small if size <= _SMALL_BYTES else self._large

    # --- writing ---------------------------------------------------------------------------------------

    async def put(
        self, name: str, data: bytes | Path, size: int, fields: Mapping[str, str] | None = None
    ) -> None:
        """Write an object of `size` bytes, whatever was there. No more than 10 MiB of a file are in memory.

        `fields` are header fields, such as Content-Type, with which the server is to answer who reads it.

        Raises:
            StoreFull, StoreUnavailable: it was not written.
        """
        async with bounded(CALL_TIMEOUT_S + size / _MIN_UPLOAD_RATE):
            await obstore.put_async(
                self._bucket_for(size),
                name,
                data,
                attributes=dict(fields or {}),
                chunk_size=_PART_BYTES,
                max_concurrency=_MAX_PARTS_AT_ONCE,
            )

    async def create(self, name: str, data: bytes, fields: Mapping[str, str] | None = None) -> str:
        """Write an object that must not exist yet, in one request; its version. `fields` are as for `put`.

        Raises:
            FileExistsError: it exists, with other content.
            StoreFull, StoreUnavailable: it was not written.
        """
        bucket = self._bucket_for(len(data))
        async with bounded(CALL_TIMEOUT_S + len(data) / _MIN_UPLOAD_RATE):
            try:
                result = await obstore.put_async(
                    bucket, name, data, attributes=dict(fields or {}), mode="create", use_multipart=False
                )
                return result["e_tag"] or ""
            except AlreadyExistsError:
                pass
        there, version = await self.get(name)
        if there != data:  # equal content was written by an earlier try whose answer got lost
            raise FileExistsError(errno.EEXIST, f"{name} exists already")
        return version

    async def replace(self, name: str, data: bytes, version: str) -> str:
        """Write a small object in place of the given version of it; the new version.

        Raises:
            ObjectChanged: that is not the version which is there.
            FileNotFoundError: there is none.
            StoreFull, StoreUnavailable: it was not written.
        """
        for known in (version, version.strip('"')):  # Ceph before 17 accepts the version without quotes only
            async with bounded(CALL_TIMEOUT_S):
                try:
                    result = await obstore.put_async(self._small, name, data, mode={"e_tag": known})
                except PreconditionError:
                    continue
                return result["e_tag"] or ""
        raise ObjectChanged(errno.ESTALE, f"{name} has changed")

    async def has_conditional_writes(self) -> bool:
        """Whether the server refuses to create an object that exists. Leaves an object named `probe`."""
        await self.put("probe", b"old", 3)
        try:
            await self.create("probe", b"new")
        except FileExistsError:
            return True
        return False

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects, in no particular order. Names of which there is no object are ignored."""
        if names:
            async with bounded(CALL_TIMEOUT_S):
                await obstore.delete_async(self._small, names)

    # --- signed URLs -----------------------------------------------------------------------------------

    async def sign(self, name: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str:
        """A URL at which anybody can send a request of this method for an object, for so many seconds.

        Raises:
            StoreUnavailable: the credentials cannot be had.
        """
        async with bounded(CALL_TIMEOUT_S):
            return await obstore.sign_async(self._small, method, name, timedelta(seconds=lifetime_s))

    def origin(self) -> str:
        """The scheme, host and port of such URLs, by the AWS_… variables; empty if they make no sense."""
        try:
            bucket = Bucket(self._bucket, access_key_id="none", secret_access_key="none")  # noqa: S106
            parts = urlsplit(obstore.sign(bucket, "GET", "none", timedelta(seconds=1)))
        except (BaseError, ValueError):
            return ""
        return f"{parts.scheme}://{parts.netloc}"

    # --- reading ---------------------------------------------------------------------------------------

    async def get(self, name: str) -> tuple[bytes, str]:
        """A small object, and its version.

        Raises:
            FileNotFoundError: there is none.
            StoreUnavailable: it could not be read.
        """
        async with bounded(CALL_TIMEOUT_S):
            result = await obstore.get_async(self._small, name)
            if result.meta["size"] > _MAX_GET_BYTES:
                raise StoreUnavailable(errno.EFBIG, f"{name} is too large")
            return bytes(await result.bytes_async()), result.meta["e_tag"] or ""

    async def list(self, folder: str) -> AsyncIterator[ObjectInfo]:
        """Every object below a folder, in the order of their names."""
        pages = aiter(obstore.list(self._small, folder, chunk_size=_PAGE_NAMES))
        while True:
            try:
                async with bounded(CALL_TIMEOUT_S):
                    page = await anext(pages)
            except StopAsyncIteration:
                return
            for meta in page:
                yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())

    async def download(
        self, name: str, first: int, last: int | None = None, piece_bytes: int = _PIECE_BYTES
    ) -> Download:
        """A stream of an object's bytes from `first` to `last`, or to its end, in pieces of about that size.

        Raises:
            FileNotFoundError: there is no such object.
            StoreUnavailable: the server does not answer.
        """

        async def begin(offset: int) -> "obstore.GetResult":
            options: obstore.GetOptions = {"range": {"offset": offset}}
            if last is not None:
                options = {"range": (offset, last + 1)}
            async with bounded(CALL_TIMEOUT_S):
                return await obstore.get_async(self._large, name, options=options)

        download = Download(begin, lambda: bounded(CALL_TIMEOUT_S), piece_bytes)
        await download.open(first)
        return download


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.port == 0 or "@" in url:
            return False
    except ValueError:  # the port is no number, or too large
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


@asynccontextmanager
async def bounded(timeout_s: float) -> AsyncIterator[None]:
    """Limit the time of a call to the server, and turn its failures into those that the module names."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise StoreUnavailable(errno.ETIMEDOUT, f"no answer within {timeout_s:.1f} s") from None
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreUnavailable(errno.EIO, "there is no such bucket") from None
        raise FileNotFoundError(errno.ENOENT, _reason(str(error))) from None
    except BaseError as error:
        reason = _reason(str(error))
        if reason in _QUOTA_CODES:
            raise StoreFull(f"the server says {reason}") from None
        raise StoreUnavailable(errno.EIO, reason) from None


def _reason(message: str) -> str:
    """One line that says why a call failed: the error code of S3 if the library's message has one."""
    if code := re.search(r"<Code>(\w+)</Code>", message):
        return code[1]
    if status := re.search(r"status code: (\d{3}[\w ]*)", message):
        return status[1]
    if "kind: Timeout" in message:
        return f"no answer within {_ANSWER_TIMEOUT_S:.0f} s"
    if "error sending request" in message:
        return "the server cannot be reached"
    return message.partition("\n")[0][:200]
