"""Problems on the wire (RFC 9457): the one catalogue of what can go wrong, and the one renderer.

Every refusal and error that leaves the service is a row of `KINDS`. An exception of the HTTP layer is a
`ProblemError` and names its row itself. What the core raises knows no HTTP, so `app.api.errors` maps it.
"""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.responses import Response

from app.backpressure.token_bucket import Quota
from app.server.headers import ConcurrencyPolicy, ratelimit_fields
from app.server.middleware import SECURITY

_encode = json.JSONEncoder(separators=(",", ":")).encode

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its page is `/problems/{slug}`; `guard` names who refused, if one did."""

    slug: str
    status: int
    title: str
    meaning: str
    remedy: str
    guard: str | None = None
    type_uri: str | None = None

    @property
    def type(self) -> str:
        """The problem type: IANA's where one is registered, else the kind's own page."""
        return self.type_uri or f"/problems/{self.slug}"


_WAIT = "Wait for the seconds that Retry-After names, then send the same request again."

KINDS: dict[str, Kind] = {
    kind.slug: kind
    for kind in (
        Kind(
            "rate",
            429,
            "Too many requests",
            "Each client has a bucket of tokens that refills at a steady rate. Every upload, refused ones "
            "included, takes a token, and this client's bucket is empty.",
            _WAIT + " GET /v1/quota tells what is left without spending anything.",
            "rate",
            QUOTA_EXCEEDED,
        ),
        Kind(
            "share",
            429,
            "Too many uploads at once",
            "This client already has as many uploads on their way in or waiting as one client may, so that "
            "one sender cannot fill the queue for all others.",
            _WAIT + " By then the next of the waiting uploads should have left the queue.",
            "share",
            QUOTA_EXCEEDED,
        ),
        Kind(
            "queue",
            503,
            "The queue is full",
            "More uploads wait than the workers can do in good time. Refusing now, before the body is read, "
            "keeps the wait of those already accepted short.",
            _WAIT + " The time is worked out from how fast the queue drains.",
            "queue",
            REDUCED_CAPACITY,
        ),
        Kind(
            "draining",
            503,
            "Shutting down",
            "The service is being stopped or replaced: it finishes what it has accepted and takes nothing "
            "new.",
            _WAIT,
            "draining",
            REDUCED_CAPACITY,
        ),
        Kind(
            "breaker",
            503,
            "A part of the service is failing",
            "The workers or the store keep failing, so uploads are refused at once and not left to fail.",
            _WAIT + " That is when the failing part is tried again.",
            "breaker",
            REDUCED_CAPACITY,
        ),
        Kind(
            "streams",
            503,
            "Too many streams",
            "Waiting requests and event streams hold a connection open, so there is a bound on them, in all "
            "and for each client.",
            "Close streams that are no longer needed, or ask for GET /v1/images/{id} without waiting.",
            "streams",
            REDUCED_CAPACITY,
        ),
        Kind(
            "repeats",
            503,
            "Too many repeats at once",
            "An upload that is sent again under its Idempotency-Key is read only to be compared with the "
            "first, and few are at once.",
            _WAIT,
            "repeats",
            REDUCED_CAPACITY,
        ),
        Kind(
            "not-serving",
            503,
            "Not ready for traffic",
            "The service is up but should get no traffic now: it is starting or draining, or its queue has "
            "been full for long.",
            "Send traffic to another replica until this one is ready.",
            None,
            REDUCED_CAPACITY,
        ),
        Kind(
            "disk",
            507,
            "The store is full",
            "The images kept on disk have reached the limit set for them.",
            "Try again later: images are removed when their retention is over, or when they are deleted.",
            "disk",
        ),
        Kind(
            "bad-request",
            400,
            "Bad request",
            "The request is malformed, or asks for something that does not exist.",
            "The detail names what is wrong. The same request will fail again.",
        ),
        Kind(
            "malformed-multipart",
            400,
            "Malformed form data",
            "The body is not well-formed multipart/form-data: a wrong boundary, a broken part header, or an "
            "end that never came.",
            "Let the HTTP client library build the form, and do not set the Content-Type header yourself.",
        ),
        Kind(
            "no-file",
            400,
            "No file",
            "The form holds no file, or the file has no bytes.",
            "Send one image as a file part of the form (curl -F file=@photo.jpg), or as the raw body.",
        ),
        Kind(
            "unknown-variant",
            400,
            "Unknown variant",
            "The request asks for a variant that this service does not make.",
            "Ask for some of the names that the detail lists, or leave the parameter out to get all.",
        ),
        Kind(
            "unauthorized",
            401,
            "Delete token needed",
            "Only the holder of an image's delete token may delete it.",
            "Send Authorization: Bearer with the delete_token of the answer to the upload.",
        ),
        Kind(
            "forbidden",
            403,
            "Wrong delete token",
            "The token is not the one of this image.",
            "Send the delete_token of the answer to this very upload.",
        ),
        Kind(
            "foreign-origin",
            403,
            "Only from the page itself",
            "This belongs to the demonstration page of this server, and the request does not come from it.",
            "Press the button on the page. Where it was pressed there, a proxy changes Host on the way.",
        ),
        Kind(
            "act-running",
            409,
            "An act is being played",
            "The demonstration plays one act at a time, so that it stays bounded.",
            "Wait until it has ended, or end it.",
        ),
        Kind(
            "repeat-too-soon",
            409,
            "The first upload is still on its way in",
            "An upload with the same Idempotency-Key is being received just now, so there is no job yet that "
            "this one could be.",
            "Send it again, with the same key, when the other has been answered or has failed.",
        ),
        Kind(
            "repeat-differs",
            422,
            "Another upload has this key",
            "The Idempotency-Key was used before, with another file or for other variants.",
            "Use a new key for each upload, and the old one only to send the very same again.",
        ),
        Kind(
            "not-found",
            404,
            "Not found",
            "There is nothing here, or no longer: images are removed when their retention is over.",
            "Check the address.",
        ),
        Kind(
            "not-ready",
            404,
            "Not made yet",
            "The image is known, but this variant of it has not been made yet.",
            "Ask again after Retry-After, or follow links.events of the job.",
        ),
        Kind(
            "method-not-allowed",
            405,
            "Method not allowed",
            "This address exists, but not for this method.",
            "The Allow header lists the methods that work.",
        ),
        Kind(
            "upload-too-slow",
            408,
            "Upload too slow",
            "The upload took longer than allowed, or fell below the least rate. Slow uploads hold a place "
            "in the loading dock that others need.",
            "Send it again on a faster link, or a smaller version of the photo.",
        ),
        Kind(
            "request-timeout",
            408,
            "Request headers too slow",
            "The request line and headers did not arrive in time.",
            "Send the whole header at once.",
        ),
        Kind(
            "too-large",
            413,
            "File too large",
            "The file is larger than this service takes.",
            "Send a file of at most Upload-Limit: max-size bytes.",
        ),
        Kind(
            "unsupported-media-type",
            415,
            "Not an image that is accepted",
            "What was sent is not one of the accepted image formats, judged by its first bytes, or the "
            "request's Content-Type is none that an upload may have.",
            "Send a JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC image, as multipart/form-data or as the "
            "raw body with an image type.",
        ),
        Kind(
            "range-not-satisfiable",
            416,
            "Range not satisfiable",
            "The range lies past the end of the image.",
            "Content-Range tells the size.",
        ),
        Kind(
            "undecodable",
            422,
            "Image cannot be decoded",
            "The file begins like an image but is damaged, or is of a kind that cannot be decoded.",
            "Open the image and save it anew, then send that.",
        ),
        Kind(
            "too-many-pixels",
            422,
            "Image has too many pixels",
            "Decoded, the image would be larger than this service allows.",
            "Send a smaller version of the image.",
        ),
        Kind(
            "too-slow",
            422,
            "Image took too long",
            "Decoding and resizing the image took longer than a job may.",
            "Send a smaller version of the image, or save it anew as a JPEG.",
        ),
        Kind(
            "too-much-memory",
            422,
            "Image needs too much memory",
            "Decoding the image needs more memory than a job may have.",
            "Send a smaller version of the image, or save it anew as a JPEG.",
        ),
        Kind(
            "headers-too-large",
            431,
            "Request headers too large",
            "The request line and headers together are larger than 32 KiB.",
            "Send fewer or shorter headers and cookies.",
        ),
        Kind(
            "worker-died",
            500,
            "Worker died",
            "The process that worked on this image died, and so did the one that tried again.",
            "Send the image again; if it fails again, save it anew first.",
        ),
        Kind(
            "internal",
            500,
            "Internal error",
            "Something went wrong inside the service. It has been logged.",
            "Try again later.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem about to be sent. Times are seconds; `members` are further extension members."""

    kind: Kind
    detail: str
    retry_after: float | None = None
    quota: Quota | None = None
    policy: ConcurrencyPolicy | None = None
    headers: Sequence[tuple[str, str]] = ()
    members: dict[str, Any] = field(default_factory=dict)


class ProblemError(Exception):
    """Base of the errors of the HTTP layer: each carries the problem with which it is answered.

    A subclass sets `slug`, a key of `KINDS`.
    """

    slug: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        retry_after: float | None = None,
        headers: Sequence[tuple[str, str]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """`detail` is a sentence for the client; `retry_after` is in seconds; `headers` and `members` are
        further header fields and extension members of the answer."""
        super().__init__(detail)
        self.retry_after = retry_after
        self.headers = headers
        self.members = dict(members or {})

    @property
    def kind(self) -> Kind:
        """The row of `KINDS`."""
        return KINDS[self.slug]

    def problem(self, quota: Quota | None) -> Problem:
        """The problem to send. `quota` is the client's rate limit, which only a 429 or 503 tells."""
        told = quota if self.kind.status in (429, 503) else None
        return Problem(
            self.kind, str(self), self.retry_after, told, headers=self.headers, members=self.members
        )


class NotFound(ProblemError):
    """Raised when there is nothing at the address asked for, or no longer."""

    slug = "not-found"

    def __init__(self, detail: str = "There is nothing at this address.") -> None:
        super().__init__(detail)


def whole_seconds(seconds: float) -> int:
    """Retry-After: whole seconds, at least one, never before the true time."""
    return max(1, math.ceil(seconds - 1e-9))


def render(problem: Problem) -> Response:
    """The one way a problem becomes an answer."""
    kind = problem.kind
    document: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{uuid.uuid4()}",
    }
    headers = {"Cache-Control": "no-store"}
    if kind.guard is not None:
        document["guard"] = kind.guard
        if kind.status == 429:
            document["violated-policies"] = [problem.policy.name if problem.policy else "ip"]
        elif problem.policy is not None:
            document["violated-policies"] = [problem.policy.name]
    if problem.retry_after is not None:
        headers["Retry-After"] = str(whole_seconds(problem.retry_after))
        document["retry_after_ms"] = math.ceil(problem.retry_after * 1000 - 1e-6)
    if problem.quota is not None:
        headers.update(ratelimit_fields(problem.quota, problem.policy))
    headers.update(problem.headers)
    document.update(problem.members)
    response = Response(
        _encode(document),
        status_code=kind.status,
        headers=headers,
        media_type="application/problem+json",
    )
    response.raw_headers += SECURITY  # some problems pass no layer that would add them
    return response
