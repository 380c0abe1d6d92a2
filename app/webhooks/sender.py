"""Posts events over HTTP, signed as Standard Webhooks says (https://www.standardwebhooks.com).

The receiver is the operator's own, and it may be broken or taken over. So a request has a time limit in all,
little of the answer is read, redirects are not followed, and no proxy or password of the environment is used.
An `http://` URL with a host name is connected to at an address that was checked just before.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from standardwebhooks import Webhook

from app import __version__
from app.runtime import tracing
from app.setting_values import is_private
from app.webhooks.delivery import MAX_AT_ONCE, Answer, SendFailed

_TIMEOUT_S = 15.0
"""Seconds for a whole request: to resolve, connect, send and get the head of the answer."""
_BODY_TIMEOUT_S = 1.0
_MAX_BODY_BYTES = 16 * 1024
"""Of an answer's body so much is read, and for so long, so that the connection can be used again."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the IP addresses of a host name for a port. Raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host name, in the order of the resolver. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host} is no host name") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def addresses_for(url: httpx.URL, find: Resolve = resolve) -> list[str]:
    """The addresses of the URL's host that it may be posted to: all with https, else the private ones.

    Raises:
        SendFailed: there is none.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await find(url.host, port)
    except OSError as error:
        raise SendFailed(f"{url.host} cannot be resolved: {error.strerror or error}") from None
    allowed = [address for address in found if url.scheme == "https" or is_private(address)]
    if not allowed:
        raise SendFailed(f"{url.host} is {found[0]}, which is not private: use https://")
    return allowed


async def find_receiver(url: str) -> str:
    """One line that says where a URL leads to now, which connects to nothing. Raises SendFailed."""
    receiver = httpx.URL(url)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            addresses = await addresses_for(receiver)
    except TimeoutError:
        raise SendFailed(f"{receiver.host} is not resolved within {_TIMEOUT_S:.0f} s") from None
    return f"webhooks go to {receiver.host} ({', '.join(addresses)})"


class HttpSender:
    """Posts to one URL."""

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        find: Resolve = resolve,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Each request is signed with every secret; `clock` gives seconds since the epoch."""
        self._url = httpx.URL(url)
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._find = find
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        """Made for the first request."""

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, event_id: str, body: str) -> Answer:
        """Post a JSON document and return what its receiver says.

        Raises:
            SendFailed: no answer came within 15 s, or the receiver may not be connected to.
        """
        headers = {"Content-Type": "application/json", **self._signature(event_id, body), **tracing.context()}
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                response = await self._request(body, headers)
        except TimeoutError:
            raise SendFailed(f"no answer within {_TIMEOUT_S:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise SendFailed(str(error) or type(error).__name__) from None
        try:
            await _skip_body(response)
        finally:
            await response.aclose()
        return Answer(response.status_code, self._retry_after(response))

    async def _request(self, body: str, headers: dict[str, str]) -> httpx.Response:
        """The answer, its body unread. Raises SendFailed, httpx.HTTPError, httpx.InvalidURL, OSError."""
        urls = [self._url]
        if self._url.scheme == "http":
            headers["Host"] = self._url.netloc.decode("ascii")
            urls = [self._url.copy_with(host=each) for each in await addresses_for(self._url, self._find)]
        for url in urls[:-1]:
            with suppress(httpx.ConnectError):
                return await self._post(url, body, headers)
        return await self._post(urls[-1], body, headers)

    async def _post(self, url: httpx.URL, body: str, headers: dict[str, str]) -> httpx.Response:
        client = self._client or self._open(await _tls_context(url))
        request = client.build_request("POST", url, content=body, headers=headers)
        return await client.send(request, stream=True)

    def _open(self, context: ssl.SSLContext) -> httpx.AsyncClient:
        """The client, which another request may have made meanwhile."""
        if self._client is None:
            self._client = _new_client(context)
        return self._client

    def _signature(self, event_id: str, body: str) -> dict[str, str]:
        """The header fields of Standard Webhooks, with a signature for each secret."""
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(each.sign(event_id, now, body) for each in self._webhooks),
        }

    def _retry_after(self, response: httpx.Response) -> float | None:
        """The seconds of an answer's Retry-After (RFC 9110): a number, or a date."""
        value = response.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdecimal():
            return float(value[:9])
        try:
            return parsedate_to_datetime(value).timestamp() - self._clock()
        except (ValueError, OverflowError):
            return None


async def _tls_context(url: httpx.URL) -> ssl.SSLContext:
    """The authorities that are trusted, which SSL_CERT_FILE may name; none where nothing is encrypted.

    A client with `trust_env=False` that makes its own would ignore that variable.
    """
    if url.scheme == "https":
        return await asyncio.to_thread(httpx.create_ssl_context)  # it reads a large file
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _new_client(context: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        timeout=_TIMEOUT_S,
        limits=httpx.Limits(max_connections=MAX_AT_ONCE, max_keepalive_connections=MAX_AT_ONCE),
        headers={"User-Agent": f"Spillway/{__version__}"},
    )


async def _skip_body(response: httpx.Response) -> None:
    """Read a small body to its end. A connection whose body is larger or slower is closed."""
    read = 0
    with suppress(TimeoutError, httpx.HTTPError, OSError):
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for piece in response.aiter_raw():
                read += len(piece)
                if read > _MAX_BODY_BYTES:
                    return
