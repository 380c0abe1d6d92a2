"""What /openapi.json says beyond what FastAPI derives from the endpoints' signatures.

Endpoints answer with ready responses, so that FastAPI does not validate and serialise each document a second
time. Their answers are therefore described here, and what they read from the request in `openapi_requests`.

Clients are generated from this description (openapi-python-client, openapi-typescript), so it uses what they
know: an operation has the name of its function, and bytes are `application/octet-stream` beside their type.
"""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI

from app.api.openapi_requests import more_parameters, upload_parameters
from app.api.openapi_webhooks import WebhookDocument, webhooks
from app.api.schemas import (
    DegradedDocument,
    HealthDocument,
    JobDocument,
    ProblemDocument,
    QuotaDocument,
    ReadinessDocument,
    StatsDocument,
    UploadDocument,
)
from app.server.problems import KINDS
from workers.formats import MEDIA_TYPES, SOURCE_MEDIA_TYPES
from workers.variants import Variant

Responses = dict[int | str, dict[str, Any]]
"""The answers of one endpoint by status, as FastAPI takes them."""

_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Retry-After": {
        "description": "Whole seconds, never before the true time.",
        "schema": {"type": "integer"},
    },
    "RateLimit-Policy": {"description": "The policies in force.", "schema": {"type": "string"}},
    "RateLimit": {"description": "What is left of them.", "schema": {"type": "string"}},
    "Accept": {"description": "What an upload may be.", "schema": {"type": "string"}},
    "Accept-Encoding": {"description": "identity.", "schema": {"type": "string"}},
    "Upload-Limit": {"description": "max-size in bytes.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}},
    "Location": {"description": "The job; of a variant, where its bytes are.", "schema": {"type": "string"}},
    "Content-Range": {"description": "The bytes sent, or the size.", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "handling=lenient.", "schema": {"type": "string"}},
    "ETag": {"description": "Digest of the bytes.", "schema": {"type": "string"}},
    "Content-Location": {"description": "The variant that is sent.", "schema": {"type": "string"}},
    "X-Request-Id": {"description": "That of the request, or a new one.", "schema": {"type": "string"}},
    "Delete-Token": {"description": "The job's delete token.", "schema": {"type": "string"}},
}
_PROBLEM_HEADERS: Final = {
    401: ["WWW-Authenticate"],
    413: ["Upload-Limit"],
    415: ["Accept", "Accept-Encoding"],
    416: ["Content-Range"],
    429: ["Retry-After", "RateLimit-Policy", "RateLimit"],
    503: ["Retry-After", "RateLimit-Policy", "RateLimit"],
}


def _headers(*names: str) -> dict[str, Any]:
    """The description of some response headers."""
    return {name: _HEADERS[name] for name in (*names, "X-Request-Id")}


def problems(*slugs: str) -> Responses:
    """The description of the problems that an endpoint answers with, gathered by status."""
    found: Responses = {}
    for kind in (KINDS[slug] for slug in slugs):
        entry = found.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
                },
                "headers": _headers(*_PROBLEM_HEADERS.get(kind.status, [])),
            },
        )
        entry["description"] = f"{entry['description']}\n\n`{kind.slug}`: {kind.meaning}".strip()
    return found


TAGS: Final = [
    {"name": "images", "description": "Upload images, follow their jobs, fetch and delete what was made."},
    {"name": "status", "description": "Quota, statistics, health and metrics. None of it costs a token."},
    {"name": "webhooks", "description": "What the service posts to WEBHOOK_URL, where that is set."},
    {"name": "demo", "description": "Change some settings for a while, and put the server under pressure."},
]

_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}

# --- what an endpoint answers ---------------------------------------------------------------------------

_JOB_LINKS: Final = {
    "document": {"operationId": "get_image", "parameters": {"id": "$response.body#/id"}},
    "events": {"operationId": "stream_image_events", "parameters": {"id": "$response.body#/id"}},
    "remove": {
        "operationId": "delete_image",
        "parameters": {"id": "$response.body#/id"},
        "description": "with the delete_token as bearer",
    },
}
_EVENT_STREAM: Final = {
    "description": "Server-sent events; each is described here.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "required": ["event", "data"],
                "properties": {
                    "event": {"type": "string"},
                    "data": {"type": "string", "description": "a JSON document"},
                    "id": {"type": "string", "description": "for Last-Event-ID"},
                },
            }
        }
    },
}

UPLOAD: Final[Responses] = {
    200: {
        "model": DegradedDocument,
        "description": "The picture itself, where one variant is asked for and the Accept field prefers its "
        "type, or `image/*`, to JSON. Or a JSON document: the queue is full and `handling=lenient` is "
        "preferred, or the default: nothing was kept; a preview of the image, and the time after which to "
        "send it again.",
        # A page of the description asks for the first of these.
        "content": {"application/json": {}, **dict.fromkeys(MEDIA_TYPES.values(), _BYTES)},
        "headers": _headers(
            *("Retry-After", "Preference-Applied", "RateLimit-Policy", "RateLimit"),
            *("Location", "Content-Location", "Delete-Token", "ETag"),
        ),
    },
    202: {
        "model": UploadDocument,
        "description": "Accepted: this job will be done, whatever happens.",
        "headers": _headers("Location", "RateLimit-Policy", "RateLimit"),
        "links": _JOB_LINKS,
    },
    201: {
        "model": UploadDocument,
        "description": "Done within the wait that was asked for.",
        "headers": _headers("Location", "RateLimit-Policy", "RateLimit"),
        "links": _JOB_LINKS,
    },
    **problems(
        # the guards
        *("rate", "share", "starting", "draining", "breaker", "queue", "disk"),
        # where uploads need tickets
        *("ticket", "beyond-ticket"),
        # what is wrong with the request or its body
        *("malformed-multipart", "no-file", "unknown-variant", "bad-request", "not-acceptable"),
        *("upload-too-slow", "too-large", "unsupported-media-type", "unsupported-coding"),
        # an Idempotency-Key that was used before
        *("repeat-too-soon", "repeat-differs", "repeats"),
        # how a job fails while the client waits for it
        *("undecodable", "too-many-pixels", "too-slow", "too-much-memory", "worker-died", "internal"),
    ),
}
DOCUMENT: Final[Responses] = {
    200: {"model": JobDocument, "description": "The job, whatever its status."},
    **problems("not-found", "streams", "breaker"),
}
EVENTS: Final[Responses] = {
    200: _EVENT_STREAM,
    204: {"description": "Nothing more will happen: do not reconnect."},
    **problems("not-found", "streams", "breaker"),
}
_VARIANT_CONTENT: Final = dict.fromkeys(("application/octet-stream", *MEDIA_TYPES.values()), _BYTES)
VARIANT: Final[Responses] = {
    200: {
        "description": "The variant's bytes.",
        "content": _VARIANT_CONTENT,
        "headers": _headers("ETag"),
    },
    206: {
        "description": "A part of them.",
        "content": _VARIANT_CONTENT,
        "headers": _headers("ETag", "Content-Range"),
    },
    302: {
        "description": "With SERVE=redirect: the bytes are at a signed address of the bucket.",
        "headers": _headers("Location"),
    },
    304: {"description": "Not modified.", "headers": _headers("ETag")},
    **problems("not-found", "not-ready", "precondition-failed", "range-not-satisfiable", "breaker"),
}
_ORIGINAL_CONTENT: Final = dict.fromkeys(("application/octet-stream", *SOURCE_MEDIA_TYPES.values()), _BYTES)
ORIGINAL: Final[Responses] = {
    200: {
        "description": "The upload's bytes.",
        "content": _ORIGINAL_CONTENT,
        "headers": _headers("ETag"),
    },
    206: {
        "description": "A part of them.",
        "content": _ORIGINAL_CONTENT,
        "headers": _headers("ETag", "Content-Range"),
    },
    304: {"description": "Not modified.", "headers": _headers("ETag")},
    **problems("unauthorized", "forbidden", "not-found", "precondition-failed"),
    **problems("range-not-satisfiable", "breaker"),
}
MORE_VARIANTS: Final[Responses] = {
    200: {"model": JobDocument, "description": "All of them are there."},
    201: {"model": JobDocument, "description": "Made within the wait that was asked for."},
    202: {"model": JobDocument, "description": "They will be made: `deferred` names them."},
    **problems(
        *("rate", "share", "starting", "draining", "breaker", "queue", "disk"),
        *("unauthorized", "forbidden", "beyond-ticket", "not-found", "under-way", "unknown-variant"),
        "bad-request",
        *("undecodable", "too-many-pixels", "too-slow", "too-much-memory", "worker-died", "internal"),
    ),
}
REMOVE: Final[Responses] = {
    204: {"description": "Every file is gone."},
    **problems("unauthorized", "forbidden", "not-found", "breaker"),
}
QUOTA: Final[Responses] = {200: {"model": QuotaDocument}, **problems("ticket", "rate")}
STATS: Final[Responses] = {200: {"model": StatsDocument}}
STATS_STREAM: Final[Responses] = {200: _EVENT_STREAM, **problems("streams")}
HEALTH: Final[Responses] = {200: {"model": HealthDocument, "description": "Alive, whatever the load."}}
READINESS: Final[Responses] = {
    200: {"model": ReadinessDocument, "description": "Ready for traffic."},
    **problems("not-serving"),
}
METRICS: Final[Responses] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


# --- the whole document ---------------------------------------------------------------------------------


def complete_openapi(app: FastAPI, variants: Sequence[Variant], *, needs_ticket: bool) -> None:
    """Have the application describe itself with what no route declares.

    `variants` are those it makes; `needs_ticket` tells whether uploads need a ticket.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate(), variants, needs_ticket)
        assert app.openapi_schema is not None  # noqa: S101 - `generate` has stored it there
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], variants: Sequence[Variant], needs_ticket: bool) -> None:
    upload = document["paths"]["/v1/images"]["post"]
    upload["parameters"] = upload_parameters(variants)
    document["paths"]["/v1/images/{id}/variants"]["post"]["parameters"] += more_parameters(variants)
    components = document["components"]
    components["securitySchemes"] = {
        "delete_token": {"type": "http", "scheme": "bearer"},
        "ticket": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "what an upload needs where UPLOAD_KEYS is set",
        },
    }
    if needs_ticket:
        upload["security"] = [{"ticket": []}]
        document["paths"]["/v1/quota"]["get"]["security"] = [{}, {"ticket": []}]
    schemas = components["schemas"]
    schemas.setdefault(
        "ProblemDocument", ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    )
    webhook = WebhookDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(webhook.pop("$defs", {}) | schemas)
    schemas["WebhookDocument"] = webhook
    document["webhooks"] = webhooks()
    # FastAPI describes its own 422 wherever there is a parameter. Here a request that it finds invalid is
    # answered with a problem, and the 422s that an endpoint declares are problems too.
    for operations in document["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
