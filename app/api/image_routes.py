"""The image endpoints: upload, document, events, variants and removal."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.convertors import Convertor, register_url_convertor

from app.api import openapi, openapi_requests
from app.api.downloads import redirect
from app.api.images import ImageService
from app.api.originals import Originals
from app.api.upload_answers import answer_upload, picture_wanted
from app.job import Job
from app.server.headers import bearer_token
from app.server.problems import NotFound
from app.server.routes import UnparsedRoute, query_of
from app.server.streaming import EventStream, event
from app.storage.interface import PROVISIONAL_LIFETIME_S
from app.uploads.admission import Admission
from app.uploads.client_key import client_of
from app.uploads.upload_request import UploadRequest

UPLOAD_PATH = "/v1/images"


class VariantName(Convertor[str]):
    """A part of a path that may name a variant: not `variants`, which only a POST is for."""

    regex = "(?!variants$)[^/]+"

    def convert(self, value: str) -> str:
        """The part as it is."""
        return value

    def to_string(self, value: str) -> str:
        """The part as it is."""
        return value


register_url_convertor("variant", VariantName())

router = APIRouter(prefix=UPLOAD_PATH, tags=["images"], route_class=UnparsedRoute)


def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


def _images(request: Request) -> ImageService:
    images: ImageService = request.app.state.images
    return images


def _originals(request: Request) -> Originals:
    originals: Originals = request.app.state.originals
    return originals


async def spend_token(request: Request) -> UploadRequest:
    """Guard 1, the token bucket of each client, as a dependency: an upload whose token is spent."""
    return await _admission(request).spend_token(request)


async def spend_owner_token(request: Request) -> UploadRequest:
    """Guard 1 as a dependency for a client that has a delete token and needs no ticket."""
    return await _admission(request).spend_owner_token(request)


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
    openapi_extra={"requestBody": openapi_requests.UPLOAD_BODY},
    responses=openapi.UPLOAD,
)
async def upload_image(request: Request, upload: Annotated[UploadRequest, Depends(admit)]) -> Response:
    """Upload one image, as a form with a file part or as the raw body."""
    images = _images(request)
    names = query_of(request.scope).get("variants", upload.default_variants)
    picture = picture_wanted(request, images.receiver.choose(names))
    accepted = await images.upload(request, upload, names)
    return await answer_upload(request, images, upload, accepted, picture)


@router.get(
    "/{id}",
    response_class=JSONResponse,
    openapi_extra={"parameters": [openapi_requests.PREFER]},
    responses=openapi.DOCUMENT,
)
async def get_image(request: Request, id: str) -> Response:  # noqa: A002 - the contract's word
    """A job; `Prefer: wait=N` waits until it has ended."""
    images = _images(request)
    job, handle = await images.find(id)
    headers = {"Cache-Control": "no-store"}
    wait_s = images.preferred_wait_s(request)
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s:.0f}"
        if handle is not None:
            await images.wait(request, handle.decided, client_of(request), wait_s)
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


@router.get(
    "/{id}/original",
    response_class=Response,
    openapi_extra={"security": [{"delete_token": []}]},
    responses=openapi.ORIGINAL,
)
async def get_original(request: Request, id: str) -> Response:  # noqa: A002
    """The upload as it came, for the owner of the image, where it is kept."""
    file = await _originals(request).find(id, bearer_token(request.headers.get("authorization")))
    return await file.answer(request, {"Cache-Control": "private, no-store"})


@router.get("/{id}/{variant:variant}", response_class=Response, responses=openapi.VARIANT)
async def get_variant(request: Request, id: str, variant: str) -> Response:  # noqa: A002
    """The bytes of one variant, or with SERVE=redirect where they are."""
    images = _images(request)
    job, made = await images.find_variant(id, variant)
    try:
        return await _answer_variant(request, images, job, variant)
    except NotFound:
        if not made.provisional:
            raise
    # It was replaced by the true one a moment ago, which the record says already.
    return await _answer_variant(request, images, await images.find_replaced(id, variant), variant)


async def _answer_variant(request: Request, images: ImageService, job: Job, variant: str) -> Response:
    """The bytes of a variant that has been made, or with SERVE=redirect where they are."""
    left_s = images.lifetime_s(job)
    provisional = job.made[variant].provisional
    if images.signer is not None:
        return await redirect(images.signer, request, job, variant, left_s)
    cached = f"{int(min(left_s, PROVISIONAL_LIFETIME_S))}" if provisional else f"{int(left_s)}, immutable"
    fields = {"Cache-Control": f"public, max-age={cached}"}
    return await images.variant_file(job, variant).answer(request, fields)


@router.post(
    "/{id}/variants",
    status_code=202,
    response_class=JSONResponse,
    openapi_extra={"security": [{"delete_token": []}]},
    responses=openapi.MORE_VARIANTS,
)
async def make_variants(
    request: Request,
    id: str,  # noqa: A002
    upload: Annotated[UploadRequest, Depends(spend_owner_token)],
) -> Response:
    """Have more variants made of the upload that is kept, for the owner of the image."""
    token = bearer_token(request.headers.get("authorization"))
    names = query_of(request.scope).get("variants")
    return await _originals(request).make(request, upload, id, token, names)


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
