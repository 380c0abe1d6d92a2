"""The layers that every answer passes through."""

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.middleware import HeadAsGet, SecurityHeaders, StripPrefix

pytestmark = pytest.mark.anyio


def answering(*pieces: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> ASGIApp:
    """An application that answers every request the same."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        shown = [*(headers or []), (b"x-method", scope["method"].encode())]
        shown += [(b"x-range", value) for name, value in scope["headers"] if name == b"range"]
        await send({"type": "http.response.start", "status": 200, "headers": shown})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def ask(app: ASGIApp, method: str = "GET") -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body of an answer."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    fields = [(b"range", b"bytes=0-0"), (b"accept", b"*/*")]
    await app({"type": "http", "method": method, "headers": fields}, receive, send)
    assert [message["type"] for message in messages].count("http.response.start") == 1
    assert messages[-1]["more_body"] is False
    return dict(messages[0]["headers"]), b"".join(message.get("body", b"") for message in messages)


async def test_every_answer_trusts_nothing() -> None:
    """No sniffing, no frames, no referrer, nothing loaded; a page's own policy is kept."""
    headers, _ = await ask(SecurityHeaders(answering(b"x")))
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"x-frame-options"] == b"DENY"
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert headers[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
    own = [(b"content-security-policy", b"default-src 'self'")]
    headers, body = await ask(SecurityHeaders(answering(b"x", headers=own)))
    assert headers[b"content-security-policy"] == b"default-src 'self'"
    assert body == b"x"


async def test_head_is_a_get_without_its_body() -> None:
    """The same headers, nothing after them; a GET passes as it is. A range is ignored (RFC 9110, 14.2)."""
    app = HeadAsGet(answering(b"a", b"b", headers=[(b"content-length", b"2")]))
    get_headers, body = await ask(app)
    assert body == b"ab"
    head_headers, body = await ask(app, "HEAD")
    assert body == b""
    assert get_headers.pop(b"x-range") == b"bytes=0-0"
    assert head_headers == get_headers
    assert head_headers[b"x-method"] == b"GET"


async def test_a_head_of_an_endless_stream_ends() -> None:
    """To the application the client leaves after the headers, and not before."""
    order: list[Any] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(receive())
        await asyncio.sleep(0)
        order.append(leaving.done())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        order.append((await leaving)["type"])

    await ask(HeadAsGet(endless), "HEAD")
    assert order == [False, "http.disconnect"]


@pytest.mark.parametrize(
    ("prefix", "path", "seen"),
    [
        ("/photos", "/photos/v1/images", "/v1/images"),
        ("/photos", "/photos/", "/"),
        ("/photos", "/v1/images", "/v1/images"),
        ("/photos", "/photos", "/photos"),
        ("/photos", "/photosy/v1/images", "/photosy/v1/images"),
        ("/photos", "/photos/nowhere", "/photos/nowhere"),
        ("/v1", "/v1/images", "/v1/images"),
        ("/v1", "/v1/v1/images", "/v1/images"),
    ],
)
async def test_a_prefix_is_taken_off_where_a_known_path_is_left(prefix: str, path: str, seen: str) -> None:
    """Whether or not a proxy has taken it off already, and although an own path may begin like it."""
    came: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope["path"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    known = {"/", "/v1/images"}
    await StripPrefix(app, prefix, lambda scope: scope["path"] in known)(
        {"type": "http", "path": path}, nothing, nothing
    )
    assert came == [seen]
