"""What both clients have in common: how a request of a flow becomes one of httpx."""

from typing import Any

import httpx

from spillway_client.flows import MAX_HOLD_S, Send
from spillway_client.photos import PhotoReader

TIMEOUT = httpx.Timeout(30, read=MAX_HOLD_S + 40, pool=None)
"""Seconds without any progress after which a connection is given up; none for getting one from the pool."""


def arguments(send: Send, reader: PhotoReader | None) -> dict[str, Any]:
    """The arguments of `httpx.Client.request` for a request; `reader` is its photo, if it has one."""
    given: dict[str, Any] = {
        "method": send.method,
        "url": send.path.lstrip("/"),
        "headers": send.headers,
        "params": send.params,
    }
    if send.photo is not None:
        given["files"] = {"file": (send.photo.name, reader, send.photo.media_type)}
    return given


def base_url(url: str) -> str:
    """The address of the service with a final slash, so that paths are joined to it, not to its root."""
    return url.rstrip("/") + "/"
