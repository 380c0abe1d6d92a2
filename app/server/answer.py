"""The way of one answer from uvicorn's cycle of request and response to the connection."""

import asyncio
from typing import Protocol

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_SKIPPED_BODY = 64 * 1024
"""The longest rest of a body, in bytes, that is read and dropped so that the connection can be kept."""


async def answer_request(app: ASGI3Application, cycle: RequestResponseCycle) -> None:
    """Have `app` answer the request of `cycle`, whose transport is an `Answer`.

    A request ends without an answer when the event loop ends and cancels it: a second signal ends the service
    at once, and uvicorn would log each request that it meets as an error of the application.
    """

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            cycle.disconnected = True
            cycle.transport.close()

    try:
        await cycle.run_asgi(run)
    finally:
        written_to: Answer = cycle.transport  # type: ignore[assignment]
        written_to.end()


class AnsweringConnection(Protocol):
    """What an answer needs of its connection."""

    transport: asyncio.Transport
    body_left: int
    """Bytes of the request's body that have not come yet."""

    def close(self) -> None:
        """Close it as soon as what was written has been sent."""

    def linger(self) -> None:
        """Close it in a way that lets a client that still sends read the answer first."""


class Answer:
    """What uvicorn writes one answer to, in place of the transport.

    It decides how the connection ends if the answer comes before the whole body of the request.
    """

    __slots__ = ("_body_awaits_100", "_connection", "_cycle", "_send")

    def __init__(self, connection: AnsweringConnection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle
        self._send = cycle.send
        self._body_awaits_100 = False

    async def send(self, message: ASGISendEvent) -> None:
        """The cycle's `send`; it closes the connection if much of an unwanted body is still to come."""
        cycle = self._cycle
        if not cycle.response_started and cycle.more_body:
            self._body_awaits_100 = cycle.waiting_for_100_continue
            if self._body_awaits_100 or self._connection.body_left > MAX_SKIPPED_BODY:
                cycle.keep_alive = False
        await self._send(message)

    def end(self) -> None:
        """Remove each reference of the cycle that leads back to it, or to the connection.

        So both are freed as soon as nobody uses them, without the garbage collector.
        """
        cycle = self._cycle
        cycle.transport = self._connection.transport
        for name in ("send", "receive"):
            vars(cycle).pop(name, None)
        cycle.scope["state"].pop("connection", None)

    def write(self, data: bytes) -> None:
        """Write to the connection unless it is closing: uvloop raises if it was reset but is not yet lost."""
        transport = self._connection.transport
        if not transport.is_closing():
            transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """Close the connection, lingering if the client may be sending its body."""
        if self._cycle.more_body and not self._body_awaits_100:
            self._connection.linger()
        else:
            self._connection.close()
