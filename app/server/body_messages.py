"""What the application receives of the body of one request."""

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.read_buffer import ReadBuffer


class BodyMessages:
    """The messages of uvicorn's cycle of request and response, and large pieces as they are in memory."""

    __slots__ = ("_cycle", "_read_buffer", "_receive")

    def __init__(self, cycle: RequestResponseCycle, read_buffer: ReadBuffer) -> None:
        self._cycle = cycle
        self._receive = cycle.receive
        self._read_buffer = read_buffer

    async def receive(self) -> ASGIReceiveEvent:
        """The cycle's `receive`. The bytes of a message are valid until this is called again."""
        piece = None if self._is_over else self._read_buffer.take_piece()
        if piece is None:
            message = await self._receive()  # which resumes reading, until a piece has been gathered
            piece = None if self._is_over else self._read_buffer.take_piece()
            if piece is None:
                return message
        self._cycle.message_event.clear()
        # What is not bytes goes to no application but those that ask for fast reading.
        body: bytes = piece  # type: ignore[assignment]
        return {"type": "http.request", "body": body, "more_body": self._cycle.more_body}

    @property
    def _is_over(self) -> bool:
        """Whether nobody wants the body any more."""
        return self._cycle.disconnected or self._cycle.response_complete
