"""Clients of streamed answers: what they send, and what they get."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message

from app.server.client_connection import ClientConnection, NoConnection
from app.server.streaming import HeldResponse


def clock() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def stays() -> Message:
    """A client that stays."""
    await asyncio.Event().wait()
    raise AssertionError


def leaves_at(moment: float) -> Callable[[], Awaitable[Message]]:
    """A client that goes away at a moment of the loop."""
    left = asyncio.Event()
    asyncio.get_running_loop().call_at(moment, left.set)

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    return receive


class Viewer:
    """A client that reads a stream: what it got, and its task."""

    def __init__(
        self,
        stream: HeldResponse,
        receive: Callable[[], Awaitable[Message]] = stays,
        connection: ClientConnection | None = None,
    ) -> None:
        self._connection = connection or NoConnection()
        self.got: list[bytes] = []
        self.headers: dict[bytes, bytes] = {}
        self.task = asyncio.create_task(self._watch(stream, receive))

    async def _watch(self, stream: HeldResponse, receive: Callable[[], Awaitable[Message]]) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.headers = dict(message["headers"])
            elif message["body"]:
                self.got.append(message["body"])

        state = {"connection": self._connection}
        await stream({"type": "http", "asgi": {"spec_version": "2.3"}, "state": state}, receive, send)
