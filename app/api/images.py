"""The image endpoints: upload, document, events, bytes and removal."""

import hmac
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from app.api import schemas
from app.api.schemas import DegradedDocument, JobDocument, UploadDocument, job_document
from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker
from app.engine.interface import Engine
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus, is_id, new_id
from app.server.headers import bearer_token, etag_matches, parse_prefer, parse_range, ratelimit_fields
from app.server.open_requests import OpenRequests, TooManyStreams
from app.server.problems import KINDS, NotFound, Problem, ProblemError, render
from app.server.streaming import COMMENT, HEARTBEAT_S, EventStream, HeldResponse, event
from app.storage.interface import Blob, Spool, Store, StoreFull
from app.uploads.admission import Admission, UploadRequest
from app.uploads.body import BodyReader, Received
from app.uploads.idempotency import KEY_PATTERN, Fingerprint, IdempotencyKeys, check_same
from workers.formats import EXTENSIONS, MEDIA_TYPES
from workers.variants import Variant, parse_variants

log = structlog.get_logger(__name__)

_CHUNK = 256 * 1024
_REFRESH = 1.0
"""Seconds between looks at a queued job's place."""


class NotReady(ProblemError):
    """Raised when a variant will be made but has not been yet."""

    slug = "not-ready"

    def __init__(self, variant: str, retry_after: float) -> None:
        super().__init__(f"The variant {variant} has not been made yet.", retry_after=retry_after)


class Unauthorized(ProblemError):
    """Raised when a request to delete an image bears no token."""

    slug = "unauthorized"

    def __init__(self) -> None:
        super().__init__("This image's delete token is needed.", headers=[("WWW-Authenticate", "Bearer")])


class Forbidden(ProblemError):
    """Raised when a request to delete an image bears another token than its own."""

    slug = "forbidden"

    def __init__(self) -> None:
        super().__init__("This is not the delete token of this image.")


class UnknownVariant(ProblemError):
    """Raised when an upload asks for a variant that is not made here."""

    slug = "unknown-variant"


def _choose(asked: str | None, variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants of `?variants=a,b`, in the order of the settings; all without it."""
    if asked is None:
        return tuple(variants)
    names = {name.strip() for name in asked.split(",")}
    known = [variant.name for variant in variants]
    unknown = sorted(names.difference(known))
    if unknown:
        raise UnknownVariant(f"Unknown variant {unknown[0][:40]!r}; this service makes {', '.join(known)}.")
    return tuple(variant for variant in variants if variant.name in names)


@dataclass(frozen=True, slots=True)
class ImageService:
    """What the endpoints work with."""

    admission: Admission
    body_reader: BodyReader
    idempotency_keys: IdempotencyKeys
    engine: Engine
    store: Store
    store_breaker: CircuitBreaker
    open_requests: OpenRequests
    variants: tuple[Variant, ...]
    max_hold: float

    # --- upload ----------------------------------------------------------------------------------------

    async def take(self, request: Request, upload: UploadRequest, asked: str | None) -> tuple[Job, Received]:
        """Read an admitted upload's body, make it durable and hand its job to the queue."""
        assert upload.slot is not None  # noqa: S101 - the queue's guard gave one
        wanted = _choose(asked, self.variants)
        job_id = new_id() if upload.keyed is None else upload.keyed.id
        with self.idempotency_keys.first_upload(upload.keyed):
            spool = await self.store.spool(job_id)
            fingerprint = None if upload.keyed is None else self._fingerprint(wanted, spool)
            try:
                received = await self.body_reader.receive(request, fingerprint or spool, upload.slot)
                job = Job(job_id, time.time(), received.size, tuple(variant.spec for variant in wanted))
                job.fingerprint = None if fingerprint is None else fingerprint.digest()
                with self.store_breaker.guard(OSError, excluded=(StoreFull,)):
                    await self.store.accept(spool, job)
            except StoreFull:
                raise  # 507, as guard 6 would have said
            except OSError as error:
                log.error("store failed an upload", reason=str(error))
                raise BreakerOpen("store", max(1.0, self.store_breaker.remaining())) from None
            finally:
                await spool.discard()
            return self.engine.enqueue(upload.slot, job).job, received

    async def repeat(
        self, request: Request, upload: UploadRequest, asked: str | None
    ) -> tuple[Job, Received]:
        """Read a repeat's body, which is kept nowhere; the job that it stands for."""
        assert upload.keyed is not None  # noqa: S101 - or it would be no repeat
        fingerprint = self._fingerprint(_choose(asked, self.variants))
        with self.idempotency_keys.replay():
            received = await self.body_reader.receive(request, fingerprint, None)
        job, _ = await self.find(upload.keyed.id)
        check_same(job, fingerprint)
        return job, received

    def _fingerprint(self, wanted: Sequence[Variant], spool: Spool | None = None) -> Fingerprint:
        """Of an upload for which these are wanted; all of them are the same whatever the settings add."""
        names = () if len(wanted) == len(self.variants) else sorted(variant.name for variant in wanted)
        return Fingerprint(names, spool)

    async def answer(self, request: Request, job: Job, upload: UploadRequest, received: Received) -> Response:
        """The answer to an upload: 202, or what became of it when the client prefers to wait."""
        handle = self.engine.find(job.id)
        prefer = parse_prefer(request.headers.getlist("prefer"))
        fields = dict(ratelimit_fields(upload.quota))
        if prefer.wait is not None:
            seconds = min(prefer.wait, self.max_hold)
            with suppress(
                TooManyStreams
            ):  # then the job is answered for at once: it is accepted all the same
                if handle is not None:
                    await self._wait(request, handle, upload, seconds)
                fields["Preference-Applied"] = f"wait={seconds:.0f}"
        job = job if handle is None else handle.job
        document = self.document(job, handle)
        document["delete_token"] = self.store.delete_token(job.id)
        if received.ignored_files:
            document["ignored_files"] = received.ignored_files
        fields["Location"] = document["links"]["self"]
        if job.status == JobStatus.FAILED and job.problem is not None:
            slug, detail = job.problem
            members = {"job": document}
            return render(Problem(KINDS[slug], detail, headers=tuple(fields.items()), members=members))
        return JSONResponse(
            document, 201 if job.status == JobStatus.DONE else 202, fields | {"Cache-Control": "no-store"}
        )

    async def _wait(self, request: Request, handle: JobHandle, upload: UploadRequest, seconds: float) -> None:
        with self.open_requests.hold(upload.client):
            await self.open_requests.wait(handle.decided, seconds, request)
        # Whoever left before the answer was promised nothing, unless it can ask again by its key.
        handle.client_left = upload.keyed is None and await request.is_disconnected()

    # --- documents and events --------------------------------------------------------------------------

    async def find(self, job_id: str) -> tuple[Job, JobHandle | None]:
        """A job, under way or finished. Raises NotFound."""
        handle = self.engine.find(job_id)
        if handle is not None:
            return handle.job, handle
        job = await self.store.load(job_id) if is_id(job_id) else None
        if job is None:
            raise NotFound("There is no such image, or no longer.")
        handle = None if job.is_final else self.engine.adopt(job)
        return (job, None) if handle is None else (handle.job, handle)

    def document(self, job: Job, handle: JobHandle | None) -> dict[str, Any]:
        """The job document as of now."""
        if handle is None:
            return job_document(job)
        if handle.job.status != JobStatus.QUEUED:
            return job_document(handle.job)
        return job_document(handle.job, *self.engine.position(handle))

    async def follow(self, handle: JobHandle) -> AsyncGenerator[bytes]:
        """Events until nothing more will change; while queued, its place whenever that has moved."""
        told = self.document(handle.job, handle)
        silent = 0.0
        async for happened in handle.events(_REFRESH):
            if self.open_requests.closing.is_set():
                return
            document = self.document(handle.job, handle)
            if happened is not None:
                yield event(happened[0], document, happened[1])
            elif document != told and handle.job.status == JobStatus.QUEUED:
                yield event(JobStatus.QUEUED, document, handle.job.state_id)
            else:
                silent += _REFRESH
                if silent < HEARTBEAT_S:
                    continue
                yield COMMENT
            silent = 0.0
            told = document

    # --- bytes -----------------------------------------------------------------------------------------

    async def serve(self, request: Request, job_id: str, name: str) -> Response:
        """A variant's bytes, whole or in part."""
        job, handle = await self.find(job_id)
        made = job.made.get(name)
        if made is None:
            wanted = parse_variants(",".join(job.wanted)) if job.wanted else self.variants
            if handle is not None and any(variant.name == name for variant in wanted):
                _, wait = self.engine.position(handle)
                raise NotReady(name, max(1.0, wait or 0.0))
            raise NotFound("There is no such variant of this image.")
        expires_at = self.store.expires_at(job)
        left = self.store.retention if expires_at is None else max(0, expires_at - time.time())
        etag = f'"{made.digest}"'
        headers = {
            "ETag": etag,
            "Cache-Control": f"public, max-age={int(left)}, immutable",
            "Accept-Ranges": "bytes",
            "Content-Disposition": f'inline; filename="{name}.{EXTENSIONS[made.format]}"',
        }
        if etag_matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        span = None
        if request.headers.get("if-range", etag) == etag:
            span = parse_range(request.headers.get("range"), made.size)
        first, last = span or (0, made.size - 1)
        blob = await self.store.blob(job, name, (first, last))
        if blob is None:
            raise NotFound("The file of this variant is gone.")
        headers["Content-Length"] = str(last - first + 1)
        if span is not None:
            headers["Content-Range"] = f"bytes {first}-{last}/{made.size}"
        return HeldResponse(
            _pieces(blob, first, last),
            blob.close,
            status_code=206 if span is not None else 200,
            headers=headers,
            media_type=MEDIA_TYPES[made.format],
        )

    # --- removal ---------------------------------------------------------------------------------------

    async def remove(self, job_id: str, token: str | None) -> None:
        """Cancel what is under way and remove every file.

        Raises:
            NotFound, Unauthorized, Forbidden: and then nothing was removed.
        """
        await self.find(job_id)
        if token is None:
            raise Unauthorized
        if not hmac.compare_digest(token.encode(), self.store.delete_token(job_id).encode()):
            raise Forbidden
        await self.engine.cancel(job_id)
        await self.store.delete(job_id)
        log.info("image removed", job=job_id)


async def _pieces(blob: Blob, first: int, last: int) -> AsyncGenerator[bytes]:
    while first <= last:
        piece = await blob.read(first, min(_CHUNK, last - first + 1))
        if not piece:
            raise OSError("the file is shorter than it was")
        first += len(piece)
        yield piece
        del piece  # see HeldResponse.stream_response


_UPLOAD_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "minLength": 1,
                        "description": "the image",
                    },
                },
            },
        },
        "image/*": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
    },
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`wait=N`: answer when the job has ended, or after N seconds (RFC 7240).",
}
_PREFER_UPLOAD = {
    **_PREFER,
    "description": "`wait=N`: answer when the job has ended, or after N seconds. `handling=lenient`: a "
    "preview instead of an error when the queue is full; `strict`: the error (RFC 7240).",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": "a string in quotes, new for each photo: sent again under it, the same file is the same "
    "job (draft-ietf-httpapi-idempotency-key-header).",
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}
_LINKS = {
    "document": {"operationId": "image", "parameters": {"id": "$response.body#/id"}},
    "events": {"operationId": "events", "parameters": {"id": "$response.body#/id"}},
    "remove": {
        "operationId": "remove",
        "parameters": {"id": "$response.body#/id"},
        "description": "with the delete_token as bearer",
    },
}
_GUARDS = ("rate", "share", "draining", "breaker", "queue", "disk")
_BODIES = ("malformed-multipart", "no-file", "unknown-variant", "bad-request", "upload-too-slow", "too-large")
_REPEATS = ("repeat-too-soon", "repeat-differs", "repeats")
_OUTCOMES = ("undecodable", "too-many-pixels", "too-slow", "too-much-memory", "worker-died")


def _variants_parameter(variants: Sequence[Variant]) -> dict[str, Any]:
    """The description of `?variants=a,b`."""
    return {
        "name": "variants",
        "in": "query",
        "required": False,
        "description": "some of the variants, comma separated",
        "style": "form",
        "explode": False,
        "schema": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": [variant.name for variant in variants]},
        },
    }


def images_router(images: ImageService) -> APIRouter:
    """The routes under /v1/images."""
    router = APIRouter(prefix="/v1/images", tags=["images"])
    admitted = images.admission.admit()

    @router.post(
        "",
        status_code=202,
        response_class=JSONResponse,
        operation_id="upload",
        openapi_extra={
            "requestBody": _UPLOAD_BODY,
            "parameters": [_variants_parameter(images.variants), _PREFER_UPLOAD, _IDEMPOTENCY_KEY],
        },
        responses={
            200: {
                "model": DegradedDocument,
                "description": "The queue is full and `handling=lenient` is preferred, or the default: "
                "nothing was kept, and here is a preview until this upload's turn comes.",
                "headers": schemas.headers(
                    "Retry-After", "Preference-Applied", "RateLimit-Policy", "RateLimit"
                ),
            },
            202: {
                "model": UploadDocument,
                "description": "Accepted: this job will be done, whatever happens.",
                "headers": schemas.headers("Location", "RateLimit-Policy", "RateLimit"),
                "links": _LINKS,
            },
            201: {
                "model": UploadDocument,
                "description": "Done within the wait that was asked for.",
                "headers": schemas.headers("Location", "RateLimit-Policy", "RateLimit"),
                "links": _LINKS,
            },
            **schemas.refusals(
                *_GUARDS, *_BODIES, "unsupported-media-type", *_REPEATS, *_OUTCOMES, "internal"
            ),
        },
    )
    async def upload(
        request: Request,
        upload: Annotated[UploadRequest, Depends(admitted)],
    ) -> Response:
        """Upload one image, as a form with a file part or as the raw body."""
        asked = request.query_params.get("variants")
        if upload.is_repeat:
            job, received = await images.repeat(request, upload, asked)
        else:
            job, received = await images.take(request, upload, asked)
            if upload.space is not None:
                upload.space.release()  # it is on disk now, and counts there
        return await images.answer(request, job, upload, received)

    @router.get(
        "/{id}",
        operation_id="image",
        response_class=JSONResponse,
        openapi_extra={"parameters": [_PREFER]},
        responses={
            200: {"model": JobDocument, "description": "The job, whatever its status."},
            **schemas.refusals("not-found", "streams", "breaker"),
        },
    )
    async def document(request: Request, id: str) -> Response:  # noqa: A002 - the contract's word
        """A job; `Prefer: wait=N` waits until it has ended."""
        job, handle = await images.find(id)
        headers = {"Cache-Control": "no-store"}
        wait = parse_prefer(request.headers.getlist("prefer")).wait
        if wait is not None:
            seconds = min(wait, images.max_hold)
            headers["Preference-Applied"] = f"wait={seconds:.0f}"
            if handle is not None:
                with images.open_requests.hold(images.admission.client(request.scope)):
                    await images.open_requests.wait(handle.decided, seconds, request)
        return JSONResponse(images.document(job, handle), headers=headers)

    @router.get(
        "/{id}/events",
        operation_id="events",
        status_code=200,  # FastAPI describes it from the class's own __init__, which takes none
        response_class=EventStream,
        responses={
            200: schemas.EVENT_STREAM,
            204: {"description": "Nothing more will happen: do not reconnect."},
            **schemas.refusals("not-found", "streams", "breaker"),
        },
    )
    async def events(request: Request, id: str) -> Response:  # noqa: A002
        """What happens to a job, as it happens."""
        job, handle = await images.find(id)
        if handle is None:
            if request.headers.get("last-event-id") == job.state_id:
                return Response(status_code=204)

            async def ended() -> AsyncGenerator[bytes]:
                yield event(job.status, job_document(job), job.state_id)

            return EventStream(ended())
        release = images.open_requests.take(images.admission.client(request.scope))
        return EventStream(images.follow(handle), release)

    @router.get(
        "/{id}/{variant}",
        operation_id="variant",
        response_class=Response,
        responses={
            200: {
                "description": "The variant's bytes.",
                "content": {
                    kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()
                },
                "headers": schemas.headers("ETag"),
            },
            206: {"description": "A part of them.", "headers": schemas.headers("ETag", "Content-Range")},
            304: {"description": "Not modified.", "headers": schemas.headers("ETag")},
            **schemas.refusals("not-found", "not-ready", "range-not-satisfiable", "breaker"),
        },
    )
    async def variant(request: Request, id: str, variant: str) -> Response:  # noqa: A002
        """The bytes of one variant."""
        return await images.serve(request, id, variant)

    @router.delete(
        "/{id}",
        operation_id="remove",
        status_code=204,
        openapi_extra={"security": [{"delete_token": []}]},
        responses={
            204: {"description": "Every file is gone."},
            **schemas.refusals("unauthorized", "forbidden", "not-found", "breaker"),
        },
    )
    async def remove(request: Request, id: str) -> Response:  # noqa: A002
        """Delete an image, or cancel its job."""
        await images.remove(id, bearer_token(request.headers.get("authorization")))
        return Response(status_code=204)

    return router
