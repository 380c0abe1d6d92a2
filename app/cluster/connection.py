"""The connection to the engine of many machines, and each question over it, in bounded time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import nats
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, KeyValueError

from app.backpressure.circuit_breaker import BreakerOpen, CircuitBreaker, Permit
from app.engine.interface import EngineUnusable

log = structlog.get_logger(__name__)

_FULL = 10077
"""What the server answers when a stream, or a subject of it, has as many messages as it may."""
_CONNECT_S = 1.0
_PATIENCE = 0.35
"""Seconds for the answer to a question; two in vain make less than the second in which an outage shows."""
_MAKING_S = 3.0
"""Seconds for an answer where something is made that was not there; whoever asks may have less patience."""
_COPIED = 3
"""Servers from which on what is kept there is kept by as many."""


class EngineDown(Exception):
    """Raised when the engine does not answer, or cannot do its part."""


class StreamFull(Exception):
    """Raised when the engine itself refuses one more; `subject`: because there is that very one already."""

    def __init__(self, *, subject: bool) -> None:
        super().__init__("there is one already" if subject else "there is no room")
        self.subject = subject


class NatsConnection:
    """The connection. It comes back by itself; `breaker` tells meanwhile that nobody is there."""

    def __init__(self, servers: Sequence[str], breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.name = ",".join(server.rpartition("@")[2].removeprefix("nats://") for server in servers)
        self.needs_setup = False
        """Whether the connection is new, or the engine was away: what hangs on either is to be made anew."""
        self._failed_at = 0.0
        self._servers = list(servers)
        self.copies = _COPIED if len(servers) >= _COPIED else 1
        """How many servers keep what is kept there."""
        self._client = Client()
        self._js: JetStreamContext | None = None

    async def open(self) -> None:
        """Connect. Raises EngineUnusable when nobody answers within seconds."""

        async def reconnected() -> None:
            self.needs_setup = True

        told = ""

        async def failed(error: Exception) -> None:
            """A server that refuses says why, and resets: of several tries its own word is what counts."""
            nonlocal told
            if not told or isinstance(error, NatsError):
                told = str(error) or told
            log.debug("engine connection", reason=repr(error))

        try:
            async with asyncio.timeout(_CONNECT_S * 5):
                self._client = await nats.connect(
                    self._servers,
                    name="spillway",
                    pending_size=0,  # nothing is buffered for a server that is not there
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,
                    connect_timeout=_CONNECT_S,
                    ping_interval=1,
                    max_outstanding_pings=2,
                    reconnected_cb=reconnected,
                    error_cb=failed,
                )
        except (NatsError, OSError, TimeoutError) as error:
            await failed(error)
            raise EngineUnusable(
                f"the engine at {self.name} cannot be reached: {told or 'no answer'}"
            ) from None
        self._js = self._client.jetstream(timeout=_MAKING_S)

    @contextmanager
    def startup(self) -> Iterator[None]:
        """Around what a start asks. Raises EngineUnusable when the engine does not do its part."""
        try:
            yield
        except UNAVAILABLE as error:
            raise EngineUnusable(f"the engine at {self.name} cannot be used: {error}") from None

    async def close(self) -> None:
        """Let go of it, without waiting for one that is away."""
        if self._js is None:
            return
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                await self._client.close()

    @property
    def client(self) -> Client:
        """The connection itself, for what is told without being kept."""
        return self._client

    @asynccontextmanager
    async def request(self, patience: float = _PATIENCE) -> AsyncIterator[JetStreamContext]:
        """Around one question, and counted by the breaker.

        Raises:
            BreakerOpen: nobody is asked just now.
            EngineDown: there was no answer within `patience` seconds, or that it cannot.
            Full: there is no room for one more.
            KeyValueError: a key is not there, or not as it was.
        """
        assert self._js is not None  # noqa: S101 - `open` comes first
        leave, asked = self.breaker.acquire(), time.monotonic()
        try:
            async with asyncio.timeout(patience):
                yield self._js
            self.breaker.record_success(leave)
        except KeyValueError:
            raise
        except (NatsError, OSError, TimeoutError) as error:
            if isinstance(error, APIError) and error.err_code == _FULL:
                raise StreamFull(subject="per subject" in (error.description or "")) from None
            self.needs_setup = True
            self._fail(leave, asked, patience)
            raise EngineDown(str(error) or "no answer") from None
        finally:
            self.breaker.ignore(leave)  # of no account after an outcome

    def _fail(self, leave: Permit, asked: float, patience: float) -> None:
        """Count a failure, unless it says no more than the last one did, or was this process's own.

        Questions that waited side by side are one in vain; and where the time to wait was passed by as much
        again, it was this process that did not get to run.
        """
        now = time.monotonic()
        if asked >= self._failed_at and now - asked < 2 * patience:
            self.breaker.record_failure(leave)
        self._failed_at = now

    async def ping(self) -> None:
        """Find out whether anybody is there at all, which says nothing of whether they can do their part.

        Raises:
            BreakerOpen, EngineDown: as `asking` does.
        """
        assert self._js is not None  # noqa: S101 - `open` comes first
        leave, asked = self.breaker.acquire(), time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._js.account_info()
        except (NatsError, OSError, TimeoutError) as error:
            self._fail(leave, asked, _PATIENCE)
            raise EngineDown(str(error) or "no answer") from None
        finally:
            self.breaker.ignore(leave)


UNAVAILABLE = (EngineDown, BreakerOpen)
"""What is raised while the engine is not there."""
