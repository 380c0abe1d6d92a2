"""Takes the body of an admitted upload and makes its job durable."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from fastapi import Request

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker
from app.job import Job, new_id
from app.server.problems import ProblemError
from app.storage.interface import Spool, Store, StoreFull
from app.uploads.admission import UploadRequest
from app.uploads.body import BodyReader
from app.uploads.file_sink import Received
from app.uploads.idempotency import Fingerprint, IdempotencyKeys, check_length
from app.uploads.multipart import MULTIPART
from workers.variants import Variant

log = structlog.get_logger(__name__)


class UnknownVariant(ProblemError):
    """Raised when an upload asks for a variant that is not made here."""

    slug = "unknown-variant"


@dataclass(frozen=True, slots=True)
class UploadReceiver:
    """Reads bodies into the store; `variants` are those that the service makes."""

    body_reader: BodyReader
    idempotency_keys: IdempotencyKeys
    store: Store
    store_breaker: CircuitBreaker
    variants: Sequence[Variant]

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
        wanted = self._choose(names)
        job_id = new_id() if upload.keyed is None else upload.keyed.id
        with self.idempotency_keys.first_upload(upload.keyed):
            spool = await self.store.spool(job_id)
            fingerprint = None if upload.keyed is None else self._fingerprint(wanted, spool)
            try:
                received = await self.body_reader.receive(request, fingerprint or spool, upload.slot)
                job = Job(job_id, time.time(), received.size, tuple(variant.spec for variant in wanted))
                job.fingerprint = None if fingerprint is None else fingerprint.digest()
                with self.store_breaker.guard(OSError, ignored=(StoreFull,)):
                    await self.store.accept(spool, job)
            except StoreFull:
                raise  # the client gets 507, as from guard 6
            except OSError as error:
                log.error("store failed an upload", reason=str(error))
                raise BreakerOpen("store", max(1.0, self.store_breaker.remaining())) from None
            finally:
                await spool.discard()
        return job, received

    async def read_repeat(
        self, request: Request, upload: UploadRequest, names: str | None, job: Job
    ) -> tuple[Fingerprint, Received]:
        """Read the body of an upload whose `job` exists already, only to compare it; none of it is kept.

        Raises:
            UnknownVariant: one of the names is unknown.
            KeyMismatch: the body has another length than that of the job, so it is not read.
            TooManyReplays: as many repeats are being read as may be at once.
            Others: as `BodyReader.receive`.
        """
        fingerprint = self._fingerprint(self._choose(names))
        check_length(job, upload.declared_size, is_form=upload.media_type == MULTIPART)
        with self.idempotency_keys.replay(upload.client):
            received = await self.body_reader.receive(request, fingerprint, None)
        return fingerprint, received

    def _choose(self, names: str | None) -> list[Variant]:
        """The variants of `?variants=a,b`, in the order of the settings."""
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

    def _fingerprint(self, wanted: Sequence[Variant], spool: Spool | None = None) -> Fingerprint:
        """The fingerprint of an upload; one that asks for all variants names none.

        So it stays the same when the settings add a variant between an upload and its repeat.
        """
        if len(wanted) == len(self.variants):
            return Fingerprint((), spool)
        return Fingerprint(sorted(variant.name for variant in wanted), spool)
