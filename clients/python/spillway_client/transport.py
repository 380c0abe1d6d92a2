"""What both clients have in common: how a request of a flow becomes one of httpx."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from spillway_client.flows import MAX_HOLD_S, Send

TIMEOUT = httpx.Timeout(30, read=MAX_HOLD_S + 40, pool=None)
"""Seconds without any progress after which a connection is given up; none for getting one from the pool."""


@contextmanager
def prepared(send: Send) -> Iterator[dict[str, Any]]:
    """The arguments of `httpx.Client.request` for a request, whose photo is open for the length of the block.

    Raises:
        OSError: the photo cannot be opened.
    """
    arguments: dict[str, Any] = {
        "method": send.method,
        "url": send.path.lstrip("/"),
        "headers": send.headers,
        "params": send.params,
    }
    if send.photo is None:
        yield arguments
        return
    with closing(send.photo.open(send.progress)) as reader:
        yield arguments | {"files": {"file": (send.photo.name, reader, send.photo.media_type)}}


def base_url(url: str) -> str:
    """The address of the service with a final slash, so that paths are joined to it, not to its root."""
    return url.rstrip("/") + "/"
