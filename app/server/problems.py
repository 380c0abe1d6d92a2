"""Problem details (RFC 9457): what is wrong with one request, and the answer that says so.

`app.server.problem_kinds` lists every kind of problem. An exception of the HTTP layer is a `ProblemError`
and names its kind itself. The exceptions of the core know no HTTP; `app.api.errors` maps them to problems.
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
from app.server.links import FROM_ROOT, Links
from app.server.middleware import SECURITY
from app.server.problem_kinds import KINDS, QUOTA_EXCEEDED, REDUCED_CAPACITY, Kind

__all__ = [
    "KINDS",
    "QUOTA_EXCEEDED",
    "RATE_LIMITED_DETAIL",
    "REDUCED_CAPACITY",
    "Kind",
    "NotFound",
    "Problem",
    "ProblemError",
    "rate_limited",
    "render",
    "whole_seconds",
]

RATE_LIMITED_DETAIL = "This client's bucket of %d is empty; the next token comes in %d ms."
"""To be filled with the size of the bucket and the milliseconds."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem to answer one request with.

    `retry_after` is in seconds. With `quota` the answer carries the RateLimit fields of the client, with
    `policy` also those of the bound that was reached. `headers` are further header fields, `members`
    further extension members of the document.
    """

    kind: Kind
    detail: str
    retry_after: float | None = None
    quota: Quota | None = None
    policy: ConcurrencyPolicy | None = None
    headers: Sequence[tuple[str, str]] = ()
    members: dict[str, Any] = field(default_factory=dict)


class ProblemError(Exception):
    """Base class of the exceptions of the HTTP layer; each carries the problem that answers the request.

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
        """`detail` is a sentence for the client. The other arguments are those of `Problem`."""
        super().__init__(detail)
        self.retry_after = retry_after
        self.headers = headers
        self.members = dict(members or {})

    @property
    def kind(self) -> Kind:
        """The kind of problem that `slug` names."""
        return KINDS[self.slug]

    def problem(self, quota: Quota | None) -> Problem:
        """The problem to send. `quota` is what the client has left, which only a 429 or a 503 tells."""
        told = quota if self.kind.status in (429, 503) else None
        return Problem(
            self.kind, str(self), self.retry_after, told, headers=self.headers, members=self.members
        )


class NotFound(ProblemError):
    """Raised when there is nothing at the address asked for, or no longer."""

    slug = "not-found"

    def __init__(self, detail: str = "There is nothing at this address.") -> None:
        super().__init__(detail)


def rate_limited(quota: Quota) -> Problem:
    """The problem of a client that has no token left."""
    detail = RATE_LIMITED_DETAIL % (quota.limit, quota.next_token_ms)
    return Problem(KINDS["rate"], detail, quota.next_token_ms / 1000, quota)


def whole_seconds(seconds: float) -> int:
    """The value of Retry-After: whole seconds, rounded up, at least one."""
    return max(1, math.ceil(seconds - 1e-9))


def render(problem: Problem, links: Links = FROM_ROOT) -> Response:
    """The answer to a request that has this problem.

    It carries the `SECURITY` headers itself, because some problems are sent without passing the middleware.
    """
    kind = problem.kind
    document: dict[str, Any] = {
        "type": links.problem_type(kind),
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{uuid.uuid4()}",
    }
    headers = {"Cache-Control": "no-store"}
    if kind.guard is not None:
        document["guard"] = kind.guard
        if problem.policy is not None:
            document["violated-policies"] = [problem.policy.name]
        elif problem.quota is not None and kind.status == 429:
            document["violated-policies"] = [problem.quota.policy]
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
    response.raw_headers += SECURITY
    return response
