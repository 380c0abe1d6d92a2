"""What /openapi.json says of the webhooks, which the service sends (OpenAPI 3.1, `webhooks`)."""

from typing import Any, Final

from pydantic import BaseModel

from app.api.schemas import JobDocument, Moment
from app.webhooks.events import EventType

_MEANINGS: Final = {
    EventType.DONE: "The smallest variant that was asked for is there.",
    EventType.COMPLETED: "Nothing is deferred any more.",
    EventType.FAILED: "The image could not be made; `data.problem` says why.",
    EventType.DELETED: "Its owner has removed it; `data` is the document as it last was.",
    EventType.EXPIRED: "Its retention is over; `data` is the document as it last was.",
}
_HEADERS: Final = {
    "webhook-id": "the same for every try of one event",
    "webhook-timestamp": "when this request was signed, seconds since the epoch",
    "webhook-signature": "`v1,` and an HMAC-SHA256 in base64 for each secret, separated by spaces",
}


class WebhookDocument(BaseModel):
    """What is posted to WEBHOOK_URL (Standard Webhooks)."""

    type: EventType
    timestamp: Moment
    data: JobDocument


def webhooks() -> dict[str, Any]:
    """The `webhooks` of the description, by event. They refer to the schema `WebhookDocument`."""
    return {kind.value: {"post": _operation(kind)} for kind in EventType}


def _operation(kind: EventType) -> dict[str, Any]:
    return {
        "summary": kind.value,
        "description": f"{_MEANINGS[kind]} Sent where WEBHOOK_EVENTS has it.",
        "operationId": f"receive_{kind.value.replace('.', '_')}",
        "tags": ["webhooks"],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": meaning,
                "schema": {"type": "string"},
            }
            for name, meaning in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookDocument"}}},
        },
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "Not wanted: this event is not sent again."},
            "default": {"description": "Sent again later, after Retry-After if there is one."},
        },
    }
