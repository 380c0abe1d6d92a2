"""Takes the body of an admitted upload and makes its job durable."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from fastapi import Request

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker
from app.job import Job, new_id
from app.runtime import tracing
from app.server.problems import ProblemError
from app.storage.interface import Store, StoreFull
from app.uploads.body import BodyReader
from app.uploads.file_sink import Received, Target, TooLarge
from app.uploads.idempotency import ContentDigest, IdempotencyKeys, KeyMismatch
from app.uploads.multipart import MULTIPART
from app.uploads.tickets import too_large_for_ticket
from app.uploads.upload_request import UploadRequest
from workers.variants import Variant

log = structlog.get_logger(__name__)


class UnknownVariant(ProblemError):
    """Raised when an upload asks for a variant that is not made here."""

    slug = "unknown-variant"


@dataclass(frozen=True, slots=True)
class UploadReceiver:
    """Reads bodies into the store; `variants` are those that the service makes.

    With `keep_original` the uploads of jobs that are done stay there.
    """

    body_reader: BodyReader
    idempotency_keys: IdempotencyKeys
    store: Store
    store_breaker: CircuitBreaker
    variants: Sequence[Variant]
    keep_original: bool

    async def receive(
        self, request: Request, upload: UploadRequest, names: str | None
    ) -> tuple[Job, Received]:
        """Read an upload's body and have the store accept its job, which is durable then.

        `names` are the variants asked for, separated by commas; None asks for all.

        Raises:
            UnknownVariant: one of the names is unknown.
            KeyInUse: another upload with the same Idempotency-Key came first.
            BreakerOpen: the store failed.
            StoreFull: the store has no room.
            Others: as `BodyReader.receive`.
        """
        wanted = self.choose(names)
        job_id = new_id() if upload.keyed is None else upload.keyed.id
        with self.idempotency_keys.first_upload(upload.keyed):
            spool = await self.store.spool(job_id)
            try:
                with self.refusing_store_failures("store failed an upload"):
                    with tracing.span("receive"):
                        received = await self._read(request, spool, upload)
                    job = Job(job_id, time.time(), received.size, tuple(variant.spec for variant in wanted))
                    job.name, job.reference = received.name, upload.reference
                    job.allowed = None if upload.ticket is None else upload.ticket.variants
                    job.original, job.trace = self.keep_original, tracing.traceparent()
                    if upload.keyed is not None:
                        job.asked = self._asked(wanted)
                        job.ticket_until, job.repeat_id = upload.keyed.ticket_until, upload.keyed.key_id
                    with self.store_breaker.guard(OSError, ignored=(StoreFull,)), tracing.span("store"):
                        await self.store.accept(spool, job)
            finally:
                await spool.discard()
        return job, received

    @contextmanager
    def refusing_store_failures(self, message: str, **fields: object) -> Iterator[None]:
        """Around what a request has the store keep: if that fails, it is logged and the request refused.

        Raises:
            BreakerOpen: the store failed.
            StoreFull: it has no room; the client gets 507, as from guard 6.
        """
        try:
            yield
        except StoreFull:
            raise
        except OSError as error:
            log.error(message, reason=str(error), **fields)
            raise BreakerOpen("store", max(1.0, self.store_breaker.remaining())) from None

    async def read_repeat(
        self, request: Request, upload: UploadRequest, names: str | None, job: Job
    ) -> tuple[ContentDigest, Received]:
        """Read the body of an upload whose `job` exists already, only to compare it; none of it is kept.

        Raises:
            UnknownVariant: one of the names is unknown.
            KeyMismatch: the head tells that the upload is another one, so the body is not read.
            TooManyReplays: as many repeats are being read as may be at once.
            Others: as `BodyReader.receive`.
        """
        asked = self._asked(self.choose(names))
        _check_head(job, upload, asked)
        # Records of earlier versions have one digest of the variants' names and the file.
        content = ContentDigest(b"" if job.fingerprint is None else ",".join(asked).encode() + b"\n")
        with self.idempotency_keys.replay(upload.client):
            received = await self._read(request, content, upload)
        return content, received

    async def _read(self, request: Request, target: Target, upload: UploadRequest) -> Received:
        """Read the file, which may have as many bytes as the ticket allows, if it has one."""
        max_bytes = None if upload.ticket is None else upload.ticket.max_bytes
        try:
            return await self.body_reader.receive(request, target, upload.slot, max_bytes)
        except TooLarge:
            if max_bytes is not None and max_bytes < self.body_reader.max_bytes:
                raise too_large_for_ticket(max_bytes) from None
            raise

    def choose(self, names: str | None) -> list[Variant]:
        """The variants of `?variants=a,b`, in the order of the settings. Raises UnknownVariant."""
        if names is None:
            return list(self.variants)
        asked = {name.strip() for name in names.split(",")}
        known = [variant.name for variant in self.variants]
        unknown = sorted(asked.difference(known))
        if unknown:
            raise UnknownVariant(
                f"Unknown variant {unknown[0][:40]!r}; this service makes {', '.join(known)}."
            )
        return [variant for variant in self.variants if variant.name in asked]

    def _asked(self, wanted: Sequence[Variant]) -> tuple[str, ...]:
        """The names of the variants asked for, sorted, and none if all are.

        So they stay the same when the settings add a variant between an upload and its repeat.
        """
        if len(wanted) == len(self.variants):
            return ()
        return tuple(sorted(variant.name for variant in wanted))


def _check_head(job: Job, upload: UploadRequest, asked: tuple[str, ...]) -> None:
    """Check what is known of a repeat of `job` before its body is read: variants, reference, length.

    Records that are damaged, or of an earlier version, do not tell what was asked for.

    Raises:
        KeyMismatch: it is no repeat.
    """
    if job.asked is not None and (job.asked, job.reference) != (asked, upload.reference):
        raise KeyMismatch
    size = upload.declared_size
    is_form = upload.media_type == MULTIPART  # which is longer than its file
    if size is not None and (size < job.size or (size > job.size and not is_form)):
        raise KeyMismatch
