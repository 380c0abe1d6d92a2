"""The image endpoints: upload, document, events, variants and removal."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from app.api import openapi
from app.api.images import ImageService, pieces
from app.job import Job, JobStatus
from app.server.conditional import is_not_modified
from app.server.headers import bearer_token, parse_prefer, parse_range, ratelimit_fields
from app.server.open_requests import TooManyStreams
from app.server.problems import KINDS, Problem, render
from app.server.routes import UnparsedRoute, query_of
from app.server.streaming import EventStream, HeldResponse, event
from app.uploads.admission import Admission, UploadRequest
from app.uploads.client_key import client_of
from app.uploads.file_sink import Received
from workers.formats import EXTENSIONS, MEDIA_TYPES

UPLOAD_PATH = "/v1/images"

router = APIRouter(prefix=UPLOAD_PATH, tags=["images"], route_class=UnparsedRoute)


def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


def _images(request: Request) -> ImageService:
    images: ImageService = request.app.state.images
    return images


async def spend_token(request: Request) -> UploadRequest:
    """Guard 1, the token bucket of each client, as a dependency: an upload whose token is spent."""
    return await _admission(request).spend_token(request)


async def admit(
    request: Request, upload: Annotated[UploadRequest, Depends(spend_token)]
) -> AsyncIterator[UploadRequest]:
    """Guards 2 to 6 as a dependency: an upload whose body may be read."""
    async with _admission(request).admit(upload):
        yield upload


@router.post(
    "",
    status_code=202,
    response_class=JSONResponse,
    openapi_extra={"requestBody": openapi.UPLOAD_BODY},
    responses=openapi.UPLOAD,
)
async def upload_image(request: Request, upload: Annotated[UploadRequest, Depends(admit)]) -> Response:
    """Upload one image, as a form with a file part or as the raw body."""
    images = _images(request)
    job, received = await images.upload(request, upload, query_of(request.scope).get("variants"))
    return await _upload_response(request, images, upload, job, received)


async def _upload_response(
    request: Request, images: ImageService, upload: UploadRequest, job: Job, received: Received
) -> Response:
    """202 with the job's document, or the job's outcome where the client prefers to wait for it."""
    handle = images.engine.find(job.id)
    fields = dict(ratelimit_fields(upload.quota))
    wait_s = parse_prefer(request.headers.getlist("prefer")).wait
    if wait_s is not None:
        wait_s = min(wait_s, images.max_hold_s)
        with suppress(TooManyStreams):  # the job is accepted all the same, so it is answered at once
            if handle is not None:
                await images.wait(request, handle, upload.client, wait_s)
                # A client that has left cannot know the job's address, unless it repeats the upload by its
                # Idempotency-Key. Without one the job is dropped.
                handle.client_left = upload.keyed is None and await request.is_disconnected()
            fields["Preference-Applied"] = f"wait={wait_s:.0f}"
    if handle is not None:
        job = handle.job
    document = images.document(job, handle)
    document["delete_token"] = images.store.delete_token(job.id)
    if received.ignored_files:
        document["ignored_files"] = received.ignored_files
    fields["Location"] = document["links"]["self"]
    if job.status == JobStatus.FAILED and job.problem is not None:
        slug, detail = job.problem
        problem = Problem(KINDS[slug], detail, headers=tuple(fields.items()), members={"job": document})
        return render(problem, images.links)
    fields["Cache-Control"] = "no-store"
    return JSONResponse(document, 201 if job.status == JobStatus.DONE else 202, fields)


@router.get(
    "/{id}",
    response_class=JSONResponse,
    openapi_extra={"parameters": [openapi.PREFER]},
    responses=openapi.DOCUMENT,
)
async def get_image(request: Request, id: str) -> Response:  # noqa: A002 - the contract's word
    """A job; `Prefer: wait=N` waits until it has ended."""
    images = _images(request)
    job, handle = await images.find(id)
    headers = {"Cache-Control": "no-store"}
    wait_s = parse_prefer(request.headers.getlist("prefer")).wait
    if wait_s is not None:
        wait_s = min(wait_s, images.max_hold_s)
        headers["Preference-Applied"] = f"wait={wait_s:.0f}"
        if handle is not None:
            await images.wait(request, handle, client_of(request), wait_s)
    return JSONResponse(images.document(job, handle), headers=headers)


@router.get(
    "/{id}/events",
    status_code=200,  # FastAPI takes the default from the __init__ of the response class, which has none
    response_class=EventStream,
    responses=openapi.EVENTS,
)
async def stream_image_events(request: Request, id: str) -> Response:  # noqa: A002
    """What happens to a job, as it happens."""
    images = _images(request)
    job, handle = await images.find(id)
    if handle is not None:
        release = images.open_requests.take(client_of(request))
        return EventStream(images.follow(handle), release)
    if request.headers.get("last-event-id") == job.state_id:
        return Response(status_code=204)
    return EventStream(_last_event(job, images.document(job, None)))


async def _last_event(job: Job, document: dict[str, Any]) -> AsyncGenerator[bytes]:
    """The one event of a job that has ended."""
    yield event(job.status, document, job.state_id)


@router.get("/{id}/{variant}", response_class=Response, responses=openapi.VARIANT)
async def get_variant(request: Request, id: str, variant: str) -> Response:  # noqa: A002
    """The bytes of one variant."""
    images = _images(request)
    job, made = await images.find_variant(id, variant)
    etag = f'"{made.digest}"'
    headers = {
        "ETag": etag,
        "Cache-Control": f"public, max-age={int(images.lifetime_s(job))}, immutable",
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'inline; filename="{variant}.{EXTENSIONS[made.format]}"',
    }
    if is_not_modified(request.headers, etag):
        return Response(status_code=304, headers=headers)
    span = None
    if request.headers.get("if-range", etag) == etag:
        span = parse_range(request.headers.get("range"), made.size)
    first, last = span or (0, made.size - 1)
    blob = await images.open_variant(job, variant, first, last)
    headers["Content-Length"] = str(last - first + 1)
    if span is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{made.size}"
    return HeldResponse(
        pieces(blob, first, last),
        blob.close,
        status_code=206 if span is not None else 200,
        headers=headers,
        media_type=MEDIA_TYPES[made.format],
    )


@router.delete(
    "/{id}",
    status_code=204,
    openapi_extra={"security": [{"delete_token": []}]},
    responses=openapi.REMOVE,
)
async def delete_image(request: Request, id: str) -> Response:  # noqa: A002
    """Delete an image, or cancel its job."""
    await _images(request).remove(id, bearer_token(request.headers.get("authorization")))
    return Response(status_code=204)
