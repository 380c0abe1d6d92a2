"""What only the owner of an image may do with the upload that is kept: fetch it, and have more made of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.downloads import StoredFile, attachment
from app.api.images import ImageService
from app.api.upload_answers import answer_failed
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus
from app.runtime import tracing
from app.server.headers import ratelimit_fields
from app.server.problems import NotFound, ProblemError
from app.storage.interface import Blob, JobGone, StoreFull
from app.uploads.admission import Admission
from app.uploads.tickets import check_variants
from app.uploads.upload_request import UploadRequest
from workers.formats import SNIFF_BYTES, SOURCE_MEDIA_TYPES, sniff
from workers.variants import Variant

_NOT_KEPT = "The upload of this image was not kept."


class UnderWay(ProblemError):
    """Raised when more variants are asked for while those asked for before are still to be made."""

    slug = "under-way"

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "Other variants of this image are still to be made; ask again when it is completed.",
            retry_after=retry_after,
        )


@dataclass(frozen=True, slots=True)
class Originals:
    """The uploads that are kept."""

    images: ImageService
    admission: Admission
    _opening: set[str] = field(default_factory=set)
    """Jobs that are being reopened."""

    async def find(self, job_id: str, token: str | None) -> StoredFile:
        """The upload of an image, as it came, from its acceptance on.

        Raises:
            NotFound, Unauthorized, Forbidden: as `ImageService.find_owned`; or it was not kept.
        """
        job, _ = await self.images.find_owned(job_id, token)
        if not job.original or job.status == JobStatus.FAILED:
            raise NotFound(_NOT_KEPT)

        async def open_original(first: int, last: int) -> Blob:
            blob = await self.images.store.original(job, (first, last))
            if blob is None:
                raise NotFound("The file of this upload is gone.")
            return blob

        kind = await _sniff(open_original) if job.source is None else str(job.source["format"])
        name = job.name or f"original.{kind}"
        media_type = SOURCE_MEDIA_TYPES.get(kind, "application/octet-stream")
        return StoredFile(job.size, job.digest or "", media_type, attachment(name), open_original)

    async def make(
        self, request: Request, upload: UploadRequest, job_id: str, token: str | None, names: str | None
    ) -> Response:
        """Have those of the variants `names` made that are not there, and answer as an upload is answered.

        200 with the document if all are there; 202 if they will be; 201, or the problem that they met, to a
        client that waits for them.

        Raises:
            NotFound, Unauthorized, Forbidden: as `ImageService.find_owned`; or the upload was not kept.
            UnknownVariant: one of the names is unknown.
            BeyondTicket: the ticket of the upload did not allow one of them.
            UnderWay: other variants are being made.
            Others: as `Admission.admit`.
        """
        wanted = self.images.receiver.choose(names)
        job, handle = await self.images.find_owned(job_id, token)
        check_variants(job.allowed, names)
        wanted = [variant for variant in wanted if job.allowed is None or variant.name in job.allowed]
        if all(job.has(variant.name) for variant in wanted):
            return self._answer(upload, job, handle, 200)
        if not self._is_coming(job, handle, wanted):
            upload.declared_size = job.size  # what is made of it is thought to have no more bytes than that
            async with self.admission.admit(upload, has_file=False):
                handle = await self._reopen(upload, job_id, wanted)
        waited = await self._wait(request, upload, handle)
        return self._answer(upload, job if handle is None else handle.job, handle, 202, waited)

    def _is_coming(self, job: Job, handle: JobHandle | None, wanted: list[Variant]) -> bool:
        """Whether the variants that are not there will be made anyway.

        Raises:
            NotFound, UnderWay: they cannot be made, or not now.
        """
        if not job.original or job.status == JobStatus.FAILED:
            raise NotFound(_NOT_KEPT)
        if job.is_final:
            return False
        coming = set(job.deferred or (variant.name for variant in self.images.wanted(job)))
        if all(job.has(variant.name) or variant.name in coming for variant in wanted):
            return True
        wait_s = None if handle is None else self.images.engine.position(handle)[1]
        raise UnderWay(max(1.0, wait_s or 0.0))

    async def _reopen(self, upload: UploadRequest, job_id: str, wanted: list[Variant]) -> JobHandle | None:
        """Begin the next run of a job and queue it, unless another request has just done so.

        Raises:
            UnderWay, NotFound: the job is not what it was before the guards.
            BreakerOpen, StoreFull: the store failed, or has no room.
        """
        if job_id in self._opening:
            raise UnderWay(1.0)
        self._opening.add(job_id)
        store, receiver = self.images.store, self.images.receiver
        try:
            with (
                receiver.refusing_store_failures("store failed to reopen a job", job=job_id),
                receiver.store_breaker.guard(OSError, ignored=(StoreFull,)),
            ):
                job = await store.load(job_id, fresh=True)
                handle = self.images.engine.find(job_id)
                if job is None:
                    raise NotFound("There is no such image, or no longer.")
                if self._is_coming(job if handle is None else handle.job, handle, wanted):
                    return handle
                job = self._next_run(job, wanted)
                await store.reopen(job)
        except JobGone:
            raise UnderWay(1.0) from None
        finally:
            self._opening.discard(job_id)
        assert upload.slot is not None  # noqa: S101 - guard 5 gave one
        return self.images.engine.enqueue(upload.slot, job)

    def _next_run(self, job: Job, wanted: list[Variant]) -> Job:
        """A final job with the variants deferred that are wanted and not there."""
        missing = {variant.name: variant.spec for variant in wanted if not job.has(variant.name)}
        specs = {variant.name: variant.spec for variant in self.images.wanted(job)} | missing
        return replace(
            job,
            wanted=tuple(specs.values()),
            deferred=tuple(missing),
            problem=None,
            completed_at=None,
            deaths=0,
            reopened=job.reopened + 1,
            trace=tracing.traceparent(),
        )

    async def _wait(self, request: Request, upload: UploadRequest, handle: JobHandle | None) -> str | None:
        """Wait for all variants of a job, if the client prefers to; the preference that was applied."""
        wait_s = self.images.preferred_wait_s(request)
        if wait_s is None:
            return None
        if handle is not None and not await self.images.wait_if_possible(
            request, handle.finished, upload.client, wait_s
        ):
            return None
        return f"wait={wait_s:.0f}"

    def _answer(
        self,
        upload: UploadRequest,
        job: Job,
        handle: JobHandle | None,
        status: int,
        waited: str | None = None,
    ) -> Response:
        """The document with this status, or the outcome of a job that was waited for."""
        document = self.images.document(job, handle)
        fields = dict(ratelimit_fields(upload.quota)) | {"Location": document["links"]["self"]}
        if waited is not None:
            fields["Preference-Applied"] = waited
            if job.is_final:
                status = 201
                if job.problem is not None:
                    return answer_failed(self.images, job.problem, document, fields)
        return JSONResponse(document, status, fields | {"Cache-Control": "no-store"})


async def _sniff(open_file: Callable[[int, int], Awaitable[Blob]]) -> str:
    """The format of an upload that no worker has decoded yet, by its first bytes."""
    blob = await open_file(0, SNIFF_BYTES - 1)
    try:
        return sniff(await blob.read(0, SNIFF_BYTES)) or "image"
    finally:
        blob.close()
