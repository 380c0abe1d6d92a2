"""Checks that a webhook was sent by the service (Standard Webhooks)."""

from collections.abc import Mapping
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


class BadSignature(ValueError):
    """Raised when a webhook was not signed with the secret, or is older than five minutes."""


def verify_webhook(body: bytes | str, headers: Mapping[str, str], secret: str) -> dict[str, Any]:
    """The event of a webhook: `type`, `timestamp` and, as `data`, the job document.

    `body` is what came, byte for byte. `secret` is one `whsec_…`, or several separated by spaces while one is
    replaced: any of them will do. An event may come more than once; its `webhook-id` is the same each time.

    Raises:
        BadSignature: it is not to be trusted.
    """
    for each in secret.split():
        try:
            event = Webhook(each).verify(body, dict(headers))
        except (WebhookVerificationError, ValueError):
            continue
        if isinstance(event, dict):
            return event
    raise BadSignature("this webhook was not signed with the secret, or is too old")
