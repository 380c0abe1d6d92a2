"""The connection to NATS, with a time limit and a circuit breaker around each request."""

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

SETUP_TIMEOUT_S = 3.0
"""Seconds for a request that creates a stream or a bucket."""
PUBLISH_TIMEOUT_S = 2.0
"""Seconds for a request after which something is kept on disk."""
_CONNECT_TIMEOUT_S = 1.0
_START_TIMEOUT_S = 5.0
"""Seconds for the first connection, with all attempts at all servers."""
_REQUEST_TIMEOUT_S = 0.35
"""Seconds for any other request. Two that fail take less than the second within which an outage must show."""
_STORE_FAILED = 10077
"""Error code of JetStream for a message that a stream does not take; its description says why."""
_NO_ROOM = {10023, 10028, 10047}
"""Error codes of JetStream: insufficient resources, insufficient memory, insufficient storage."""
_NO_SPACE_LEFT = "no space left on device"
_MAX_REPLICAS = 3
"""Copies of each stream, as soon as there are as many servers."""


class EngineDown(Exception):
    """Raised when NATS does not answer, or answers that it cannot do what it was asked."""


class StorageFull(EngineDown):
    """Raised when NATS answers, but has no room to store anything more, so the breaker does not count it."""


class StreamFull(Exception):
    """Raised when a stream takes no further message.

    `subject` tells that only the message's own subject is full, because it holds that message already.
    """

    def __init__(self, *, subject: bool) -> None:
        super().__init__("the subject has a message already" if subject else "the stream is full")
        self.subject = subject


UNAVAILABLE = (EngineDown, BreakerOpen)
"""The exceptions of a request while NATS is not available."""


class NatsConnection:
    """A connection that reconnects by itself. Its breaker is open while NATS does not answer."""

    def __init__(self, servers: Sequence[str], breaker: CircuitBreaker) -> None:
        """`servers` are `nats://` URLs, with credentials if needed."""
        self.breaker = breaker
        self.name = ",".join(server.rpartition("@")[2].removeprefix("nats://") for server in servers)
        """The servers without their credentials, for messages."""
        self.needs_setup = False
        """Whether streams and subscriptions may be gone: the connection was lost, or a request failed."""
        self.replicas = _MAX_REPLICAS if len(servers) >= _MAX_REPLICAS else 1
        """How many servers keep a copy of each stream."""
        self._servers = list(servers)
        self._failed_at = 0.0
        self._client = Client()
        self._jetstream: JetStreamContext | None = None

    async def open(self) -> None:
        """Connect. Raises EngineUnusable when no server accepts the connection within seconds."""
        refusal = ""

        async def reconnected() -> None:
            self.needs_setup = True

        async def failed(error: Exception) -> None:
            # A server that refuses says why and then resets the connection: keep its own words.
            nonlocal refusal
            if not refusal or isinstance(error, NatsError):
                refusal = str(error) or refusal
            log.debug("NATS connection failed", reason=repr(error))

        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                self._client = await nats.connect(
                    self._servers,
                    name="spillway",
                    pending_size=0,  # a message for a server that is away must fail, not be buffered
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    ping_interval=1,
                    max_outstanding_pings=2,
                    reconnected_cb=reconnected,
                    error_cb=failed,
                )
        except (NatsError, OSError, TimeoutError) as error:
            await failed(error)
            raise EngineUnusable(
                f"the engine at {self.name} cannot be reached: {refusal or 'no answer'}"
            ) from None
        self._jetstream = self._client.jetstream(timeout=SETUP_TIMEOUT_S)

    @contextmanager
    def startup(self) -> Iterator[None]:
        """Wrap the requests of a start. Raises EngineUnusable when one of them fails."""
        try:
            yield
        except UNAVAILABLE as error:
            raise EngineUnusable(f"the engine at {self.name} cannot be used: {error}") from None

    async def close(self) -> None:
        """Close the connection, without waiting for a server that does not answer."""
        if self._jetstream is None:
            return
        with suppress(NatsError, OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._client.close()

    @property
    def client(self) -> Client:
        """The NATS client, for messages that no stream keeps."""
        return self._client

    @asynccontextmanager
    async def request(self, timeout_s: float = _REQUEST_TIMEOUT_S) -> AsyncIterator[JetStreamContext]:
        """Wrap one request to JetStream, whose outcome the breaker counts.

        Raises:
            BreakerOpen: no request is sent now, because the last ones failed.
            EngineDown: no answer within `timeout_s` seconds, or the answer was an error.
            StorageFull: NATS answers, and has no room.
            StreamFull: the stream takes no further message.
            KeyValueError: a key does not exist, or has another revision than expected.
        """
        if self._jetstream is None:
            raise EngineDown("not connected yet")
        permit, sent_at = self.breaker.acquire(), time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                yield self._jetstream
            self.breaker.record_success(permit)
        except KeyValueError:
            raise
        except (NatsError, OSError, TimeoutError) as error:
            if isinstance(error, APIError) and (refusal := _refusal(error)) is not None:
                raise refusal from None
            self.needs_setup = True
            reason = str(error) or "no answer"
            self._record_failure(permit, sent_at, timeout_s, reason)
            raise EngineDown(reason) from None
        finally:
            self.breaker.ignore(permit)  # has no effect after a recorded outcome

    def _record_failure(self, permit: Permit, sent_at: float, timeout_s: float, reason: str) -> None:
        """Count a failed request, unless it tells nothing new about NATS.

        Requests that were under way at the same time count once. A request that took more than twice its
        time limit does not count: then it was this process that did not get to run.
        """
        now = time.monotonic()
        if sent_at >= self._failed_at and now - sent_at < 2 * timeout_s:
            self.breaker.record_failure(permit, reason)
        self._failed_at = now

    async def ping(self) -> None:
        """Ask whether a server answers at all, which does not show that it can store anything.

        A success is not counted by the breaker, so that only a useful answer closes it.

        Raises:
            BreakerOpen: no request is sent now, because the last ones failed.
            EngineDown: no answer.
        """
        if self._jetstream is None:
            raise EngineDown("not connected yet")
        permit, sent_at = self.breaker.acquire(), time.monotonic()
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                await self._jetstream.account_info()
        except (NatsError, OSError, TimeoutError) as error:
            reason = str(error) or "no answer"
            self._record_failure(permit, sent_at, _REQUEST_TIMEOUT_S, reason)
            raise EngineDown(reason) from None
        finally:
            self.breaker.ignore(permit)


def _refusal(error: APIError) -> StorageFull | StreamFull | None:
    """The exception for an answer that NATS does not take a message now; None for any other error."""
    description = error.description or ""
    if error.err_code in _NO_ROOM or _NO_SPACE_LEFT in description:
        return StorageFull(f"NATS has no room: {description}")
    if error.err_code == _STORE_FAILED:
        return StreamFull(subject="per subject" in description)
    return None
