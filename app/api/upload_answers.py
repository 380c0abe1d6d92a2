"""What an upload is answered with: its job's document, or the picture itself (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.api.images import ImageService
from app.engine.job_handle import JobHandle
from app.job import Job, JobStatus
from app.server.accept import Accept
from app.server.headers import ratelimit_fields
from app.server.problems import KINDS, Problem, ProblemError, render
from app.uploads.file_sink import Received
from app.uploads.upload_request import UploadRequest
from workers.formats import MEDIA_TYPES
from workers.variants import Variant

VARY = ("Vary", "Accept")
"""What the answers to uploads depend on."""


class NotAcceptable(ProblemError):
    """Raised when an upload can have no answer that its Accept field allows."""

    slug = "not-acceptable"


def picture_wanted(request: Request, wanted: Sequence[Variant]) -> Variant | None:
    """The variant that is itself the answer to an upload which asks for `wanted`; None for the document.

    Raises:
        NotAcceptable: the client accepts neither.
    """
    accept = Accept.parse(request.headers.getlist("accept"))
    if len(wanted) == 1 and accept.prefers_picture(MEDIA_TYPES[wanted[0].format]):
        return wanted[0]
    if accept.takes_json():
        return None
    if not accept.prefers_picture():
        raise NotAcceptable("An upload is answered with application/json, or with one variant's picture.")
    if len(wanted) == 1:
        kind = MEDIA_TYPES[wanted[0].format]
        raise NotAcceptable(
            f"The variant {wanted[0].name} is {kind}: accept that, image/* or application/json."
        )
    names = ", ".join(variant.name for variant in wanted)
    raise NotAcceptable(
        f"A picture is the answer where one variant is asked for: add ?variants= with one of {names}."
    )


async def answer_upload(
    request: Request,
    images: ImageService,
    upload: UploadRequest,
    accepted: tuple[Job, Received],
    picture: Variant | None,
) -> Response:
    """202 with the document of a job; its outcome where the client prefers to wait for it.

    A client that wants the `picture` waits for MAX_HOLD unless it says for how long, and gets its bytes.
    """
    job, received = accepted
    handle = images.engine.find(job.id)
    fields = dict(ratelimit_fields(upload.quota)) | dict([VARY])
    preferred_s = images.preferred_wait_s(request)
    if preferred_s is not None or picture is not None:
        wait_s = images.max_hold_s if preferred_s is None else preferred_s
        waited = handle is None or await _wait(request, images, upload, handle, wait_s)
        if waited and preferred_s is not None:
            fields["Preference-Applied"] = f"wait={wait_s:.0f}"
    if handle is not None:
        job = handle.job
    token = images.store.delete_token(job.id)
    fields["Location"] = images.links.to(f"/v1/images/{job.id}")
    if picture is not None and job.status == JobStatus.DONE and job.has(picture.name):
        fields["Content-Location"] = images.links.to(f"/v1/images/{job.id}/{picture.name}")
        fields |= {"Cache-Control": "no-store", "Delete-Token": token}
        return await images.variant_file(job, picture.name).whole(fields)
    document = images.document(job, handle)
    document["delete_token"] = token
    if received.ignored_files:
        document["ignored_files"] = received.ignored_files
    if job.status == JobStatus.FAILED and job.problem is not None:
        return answer_failed(images, job.problem, document, fields)
    fields["Cache-Control"] = "no-store"
    return JSONResponse(document, 201 if job.status == JobStatus.DONE else 202, fields)


def answer_failed(
    images: ImageService, problem: tuple[str, str], document: dict[str, Any], fields: dict[str, str]
) -> Response:
    """The answer to a client that has waited for a job which failed: its problem, with the job's document."""
    slug, detail = problem
    headers = tuple(fields.items())
    return render(Problem(KINDS[slug], detail, headers=headers, members={"job": document}), images.links)


async def _wait(
    request: Request, images: ImageService, upload: UploadRequest, handle: JobHandle, wait_s: float
) -> bool:
    """Wait until the job has ended, or for `wait_s` seconds; False if too many requests wait already.

    A client that has left cannot know the job's address, unless it repeats the upload by its Idempotency-Key.
    Without one the job is dropped, if it has not ended.
    """
    waited = await images.wait_if_possible(request, handle.decided, upload.client, wait_s)
    if waited:
        may_be_lost = upload.keyed is None and not handle.is_decided
        handle.client_left = may_be_lost and await request.is_disconnected()
    return waited
