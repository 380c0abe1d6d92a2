"""Images as their clients see them: uploaded, looked up, followed, served and removed."""

import asyncio
import hmac
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import Request

from app.api.downloads import StoredFile
from app.api.schemas import job_document
from app.engine.interface import Engine
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus, MadeVariant, is_id
from app.runtime.wakeups import Wakeups
from app.server.headers import parse_prefer
from app.server.links import Links
from app.server.open_requests import OpenRequests, TooManyStreams
from app.server.problems import NotFound, ProblemError
from app.server.streaming import COMMENT, HEARTBEAT_S, event
from app.storage.interface import Blob, Signer, Store
from app.uploads.file_sink import Received
from app.uploads.idempotency import check_same
from app.uploads.receiver import UploadReceiver
from app.uploads.upload_request import UploadRequest
from app.webhooks.events import EventType, removal
from workers.formats import MEDIA_TYPES
from workers.variants import Variant, read_specs

log = structlog.get_logger(__name__)

_YEAR_S = 365 * 86_400
"""Seconds for which caches are told to keep what is kept for good."""
_REFRESH_S, _MAX_REFRESH_S = 1.0, 5.0
"""Most seconds between looks at a queued job's position: the second, if very many are followed."""
_MIN_SHARE = 0.8
"""Each look comes after this share of that time or later."""
_REFRESHES_PER_S = 1000
"""Looks in a second, of all event streams together, from which on they become rarer."""


class NotReady(ProblemError):
    """Raised when a variant will be made but has not been yet."""

    slug = "not-ready"

    def __init__(self, variant: str, retry_after: float) -> None:
        super().__init__(f"The variant {variant} has not been made yet.", retry_after=retry_after)


class Unauthorized(ProblemError):
    """Raised when a request that only the owner of an image may make bears no token."""

    slug = "unauthorized"

    def __init__(self) -> None:
        super().__init__("This image's delete token is needed.", headers=[("WWW-Authenticate", "Bearer")])


class Forbidden(ProblemError):
    """Raised when such a request bears another token than that of the image."""

    slug = "forbidden"

    def __init__(self) -> None:
        super().__init__("This is not the delete token of this image.")


@dataclass(frozen=True, slots=True)
class ImageService:
    """What the image endpoints do.

    `max_hold_s` bounds how long a client may wait for a job; `links` makes the addresses in its documents.
    With a `signer`, variants are not sent from here, but by the bucket that it signs for.
    """

    receiver: UploadReceiver
    engine: Engine
    store: Store
    open_requests: OpenRequests
    max_hold_s: float
    links: Links
    signer: Signer | None = None
    _wakeups: Wakeups = field(default_factory=Wakeups)

    async def upload(
        self, request: Request, upload: UploadRequest, names: str | None
    ) -> tuple[Job, Received]:
        """Read an admitted upload's body and queue its job, or find the job that it repeats.

        Raises:
            KeyMismatch: the upload repeats an Idempotency-Key with another file or other variants.
            NotFound: the job of a repeat was removed while the repeat was read.
            Others: as `UploadReceiver`.
        """
        if upload.keyed is not None and upload.is_repeat:
            job, _ = await self.find(upload.keyed.id)
            content, received = await self.receiver.read_repeat(request, upload, names, job)
            job, _ = await self.find(job.id)
            check_same(job, content)
            return job, received
        assert upload.slot is not None  # noqa: S101 - guard 5 gave one
        job, received = await self.receiver.receive(request, upload, names)
        handle = self.engine.enqueue(upload.slot, job)
        if upload.space is not None:
            upload.space.release()  # the file is in the store now and counts there
        return handle.job, received

    async def find(self, job_id: str) -> tuple[Job, JobHandle | None]:
        """A job, and its handle while it is under way.

        Raises:
            NotFound: there is no such job, or no longer.
        """
        handle = self.engine.find(job_id)
        if handle is not None:
            return handle.job, handle
        job = await self.store.load(job_id) if is_id(job_id) else None
        if job is None:
            raise NotFound("There is no such image, or no longer.")
        if job.is_final:
            return job, None
        handle = self.engine.adopt(job)
        if handle is not None:
            return handle.job, handle
        # It may have ended between the read and now.
        job = await self.store.load(job_id)
        if job is None:
            raise NotFound("There is no such image, or no longer.")
        return job, None

    async def find_owned(self, job_id: str, token: str | None) -> tuple[Job, JobHandle | None]:
        """As `find`, for the holder of the delete token.

        Raises:
            NotFound, Unauthorized, Forbidden: there is no such job, or this is not its delete token.
        """
        found = await self.find(job_id)
        if token is None:
            raise Unauthorized
        if not hmac.compare_digest(token.encode(), self.store.delete_token(job_id).encode()):
            raise Forbidden
        return found

    def document(self, job: Job, handle: JobHandle | None) -> dict[str, Any]:
        """The job document as of now."""
        if handle is not None:
            job = handle.job
        position = wait_s = None
        if handle is not None and job.status == JobStatus.QUEUED:
            position, wait_s = self.engine.position(handle)
        return job_document(job, self.links, self.store.expires_at(job), position, wait_s)

    def preferred_wait_s(self, request: Request) -> float | None:
        """For how many seconds a client prefers to wait (`Prefer: wait=N`), at most `max_hold_s`."""
        wait_s = parse_prefer(request.headers.getlist("prefer")).wait
        return None if wait_s is None else min(wait_s, self.max_hold_s)

    async def wait(self, request: Request, until: asyncio.Event, client: str, seconds: float) -> None:
        """Return when the event is set, or after `seconds`, or when the client has left.

        Raises:
            TooManyStreams: too many requests are waiting already.
        """
        with self.open_requests.hold(client):
            await self.open_requests.wait(until, seconds, request)

    async def wait_if_possible(
        self, request: Request, until: asyncio.Event, client: str, seconds: float
    ) -> bool:
        """As `wait`, for a request that was accepted already; False, at once, if too many are waiting."""
        with suppress(TooManyStreams):
            await self.wait(request, until, client, seconds)
            return True
        return False

    async def follow(self, handle: JobHandle) -> AsyncGenerator[bytes]:
        """Server-sent events of a job until nothing more will change.

        While the job is queued there is also an event when its position has changed.
        """
        loop = asyncio.get_running_loop()
        sent, sent_at = self.engine.position(handle)[0], loop.time()
        async for happened in handle.events(self._refresh_s, self._wakeups):
            if self.open_requests.closing.is_set():
                return
            position, _ = self.engine.position(handle)
            if happened is None and position == sent and loop.time() - sent_at < HEARTBEAT_S:
                continue
            if happened is not None:
                yield event(happened[0], self.document(handle.job, handle), happened[1])
            elif position != sent and handle.job.status == JobStatus.QUEUED:
                yield event(JobStatus.QUEUED, self.document(handle.job, handle), handle.job.state_id)
            else:
                yield COMMENT
            sent, sent_at = position, loop.time()

    def _refresh_s(self) -> float:
        """Seconds until the next look at a queued job's position."""
        longest = min(_MAX_REFRESH_S, max(_REFRESH_S, self.open_requests.count / _REFRESHES_PER_S))
        # Streams that were opened together, as after a restart, shall not all look at the same moment.
        return longest * random.uniform(_MIN_SHARE, 1.0)  # noqa: S311

    async def find_variant(self, job_id: str, name: str) -> tuple[Job, MadeVariant]:
        """A variant that has been made.

        Raises:
            NotFound: there is no such image, or none of its variants has this name.
            NotReady: it has not been made yet.
        """
        job, handle = await self.find(job_id)
        made = job.made.get(name)
        if made is not None:
            return job, made
        if handle is not None and any(variant.name == name for variant in self.wanted(job)):
            _, wait_s = self.engine.position(handle)
            raise NotReady(name, max(1.0, wait_s or 0.0))
        raise NotFound("There is no such variant of this image.")

    async def find_replaced(self, job_id: str, name: str) -> Job:
        """A job whose provisional variant of this name is gone, by its record. Raises NotFound."""
        job = await self.store.load(job_id, fresh=True)
        if job is None or not job.has(name):
            raise NotFound("There is no such image, or no longer.")
        return job

    def wanted(self, job: Job) -> Sequence[Variant]:
        """All variants that a job is to end with."""
        return read_specs(job.wanted) if job.wanted else self.receiver.variants

    def lifetime_s(self, job: Job) -> float:
        """Seconds until the job's image expires, at most a year.

        It is the whole retention while that moment is not set.
        """
        expires_at = self.store.expires_at(job)
        life = self.store.retention if expires_at is None else max(0.0, expires_at - time.time())
        return min(life, _YEAR_S)

    def variant_file(self, job: Job, name: str) -> StoredFile:
        """A variant that has been made, as a file to answer with."""

        async def open_variant(first: int, last: int) -> Blob:
            blob = await self.store.blob(job, name, (first, last))
            if blob is None:
                raise NotFound("The file of this variant is gone.")
            return blob

        made = job.made[name]
        disposition = f'inline; filename="{made.file_name(name)}"'
        return StoredFile(made.size, made.digest, MEDIA_TYPES[made.format], disposition, open_variant)

    async def remove(self, job_id: str, token: str | None) -> None:
        """Cancel what is under way and remove every file, for the holder of the delete token.

        Raises:
            NotFound, Unauthorized, Forbidden: and then nothing was removed.
        """
        job, _ = await self.find_owned(job_id, token)
        removed = removal(EventType.DELETED, job, time.time())
        async with self.engine.outbox.announcing([removed]):
            await self.engine.cancel(job_id)
            await self.store.delete(job_id)
        log.info("image removed", job=job_id)
