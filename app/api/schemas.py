"""The JSON documents of the API: models for its description and for the tests, and how a job becomes one."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.job import Job, JobStatus, MadeVariant
from app.server.headers import timestamp
from app.server.links import Links
from app.server.problems import KINDS

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A moment as RFC 3339 writes it."""
Reference = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
"""A URI, or a path from the root of the server (RFC 3986): the latter where PUBLIC_URL is empty."""
Digest = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"})]
"""SHA-256 in hexadecimal."""


class ProblemDocument(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: Reference = Field(description="IANA's URI, or the address of a page about this kind of problem")
    title: str
    status: int
    detail: str
    instance: Reference | None = None
    guard: str | None = Field(None, description="which guard refused")
    breaker: str | None = Field(None, description="which part is failing, where the guard is `breaker`")
    retry_after_ms: int | None = Field(None, description="milliseconds until it is worth asking again")
    request_id: str | None = Field(None, description="the X-Request-Id of the request, if it had one")


class SourceDocument(BaseModel):
    """The uploaded image; width and height in pixels, after its EXIF orientation is applied."""

    format: str
    width: int
    height: int
    bytes: int
    sha256: Digest | None = Field(None, description="of the bytes received")
    name: str | None = Field(None, description="the file's name in the form, without folders")


class VariantDocument(BaseModel):
    """One variant that has been made."""

    url: Reference = Field(description="below PUBLIC_URL, or a path from the root of the server")
    width: int
    height: int
    bytes: int
    format: Literal["jpeg", "webp", "avif", "png"]
    sha256: Digest
    provisional: bool | None = Field(
        None, description="true while it is made of the photo's embedded thumbnail, to be replaced soon"
    )


class LinksDocument(BaseModel):
    """Related addresses."""

    model_config = ConfigDict(populate_by_name=True)

    self_: Reference = Field(alias="self")
    events: Reference


class JobDocument(BaseModel):
    """A job, its status and its results so far."""

    id: str
    status: Literal["queued", "processing", "done", "failed", "cancelled"]
    position: int | None = Field(None, description="place in the queue, where 1 is next; while queued")
    estimated_wait_ms: int | None = Field(None, description="while queued")
    created_at: Moment
    finished_at: Moment | None = Field(None, description="when it became done or failed")
    completed_at: Moment | None = Field(
        None, description="when nothing more was to be made: later, where variants were deferred"
    )
    expires_at: Moment | None = Field(
        None, description="when it will be removed; null while that is not known, and if it is kept for good"
    )
    reference: str | None = Field(None, description="what the upload gave as its reference")
    source: SourceDocument | None = Field(None, description="once known")
    url: Reference | None = Field(None, description="the address of the largest variant that is made")
    variants: dict[str, VariantDocument]
    blurhash: str | None = Field(None, description="where BLURHASH is on and the image is made")
    deferred: list[str] = Field(description="variants that will be made later")
    problem: ProblemDocument | None = Field(
        None, description="when failed, or done but for variants that were deferred and then failed"
    )
    links: LinksDocument


class UploadDocument(JobDocument):
    """The answer to an upload: the job, and its delete token, which no other answer contains."""

    delete_token: str
    ignored_files: int | None = Field(None, description="further file parts of the form, which were ignored")


class PreviewDocument(BaseModel):
    """A small image."""

    url: str = Field(description="a `data:` URL", json_schema_extra={"format": "uri"})
    width: int
    height: int
    kind: Literal["exif", "placeholder"] = Field(
        description="the photo's own EXIF thumbnail, or a generic placeholder"
    )


class DegradedDocument(BaseModel):
    """The answer to an upload that found the queue full and prefers a preview to an error."""

    status: Literal["degraded"]
    detail: str
    retry_after_ms: int = Field(description="milliseconds until a place is reserved for this upload")
    preview: PreviewDocument


class QuotaDocument(BaseModel):
    """The caller's own bucket."""

    policy: Literal["ip", "ticket"] = Field(description="the address's bucket, or that of the ticket")
    limit: int = Field(description="size of the bucket")
    window_s: int = Field(description="seconds in which an empty bucket fills")
    remaining: int = Field(description="whole tokens left")
    next_token_ms: int = Field(description="milliseconds to the next token; 0 when full")


class StatsDocument(BaseModel):
    """The whole state in one snapshot."""

    model_config = ConfigDict(extra="allow")

    uptime_s: float
    jobs: dict[str, int]
    accepted_bytes: int = Field(description="sizes of all accepted uploads together")
    refusals: dict[str, int]
    limiter: dict[str, Any]
    backlog: dict[str, Any]
    workers: list[dict[str, Any]]
    previews: dict[str, Any] = Field(description="the preview worker, and the bodies read for it now")
    repeats: dict[str, Any] = Field(description="uploads with an Idempotency-Key that are being read")
    brownout: dict[str, Any]
    breakers: dict[str, str]
    webhook: dict[str, Any] | None = Field(
        None, description="counts of webhooks by what became of them, if WEBHOOK_URL is set"
    )
    memory_bytes: int
    store_bytes: int
    minute: dict[str, list[int]] = Field(description="the last minute, a value for each second, oldest first")


class HealthDocument(BaseModel):
    """The process answers."""

    alive: Literal[True]


class ReadinessDocument(BaseModel):
    """The server takes uploads."""

    ready: Literal[True]
    sandbox: dict[str, str] = Field(description="the layers that confine decoders, each on, or off and why")


def job_document(
    job: Job,
    links: Links,
    expires_at: float | None = None,
    position: int | None = None,
    wait_s: float | None = None,
) -> dict[str, Any]:
    """The document of a job, without its delete token.

    It `expires_at` that many seconds after the epoch, None if that is not known yet or never. `position`, and
    the estimated wait in seconds, are those of a job in the queue; other documents have none.
    """
    base = links.to(f"/v1/images/{job.id}")
    document: dict[str, Any] = {"id": job.id, "status": job.status}
    if job.status == JobStatus.QUEUED:
        document["position"] = position
        document["estimated_wait_ms"] = None if wait_s is None else round(wait_s * 1000)
    document["created_at"] = timestamp(job.created_at)
    document["finished_at"] = _moment(job.finished_at)
    is_of_earlier_version = job.is_final and job.completed_at is None
    document["completed_at"] = _moment(job.finished_at if is_of_earlier_version else job.completed_at)
    document["expires_at"] = _moment(expires_at)
    document["reference"] = job.reference
    document["source"] = None
    if job.source is not None:
        document["source"] = {**job.source, "bytes": job.size, "sha256": job.digest, "name": job.name}
    largest = max(job.made, key=lambda name: job.made[name].width * job.made[name].height, default=None)
    document["url"] = None if largest is None else f"{base}/{largest}"
    document["variants"] = {
        name: _variant_document(f"{base}/{name}", made) for name, made in job.made.items()
    }
    document["deferred"] = list(job.deferred)
    if job.blurhash is not None:
        document["blurhash"] = job.blurhash
    if job.problem is not None:
        slug, detail = job.problem
        kind = KINDS.get(slug, KINDS["internal"])
        document["problem"] = {
            "type": links.problem_type(kind),
            "title": kind.title,
            "status": kind.status,
            "detail": detail,
        }
    document["links"] = {"self": base, "events": f"{base}/events"}
    return document


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)


def _variant_document(url: str, made: MadeVariant) -> dict[str, Any]:
    document: dict[str, Any] = {
        "url": url,
        "width": made.width,
        "height": made.height,
        "bytes": made.size,
        "format": made.format,
        "sha256": made.digest,
    }
    return document | {"provisional": True} if made.provisional else document
