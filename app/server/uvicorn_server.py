"""The server: uvicorn with our protocol, our signals and a drain before the end."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.lifecycle import Service
from app.runtime import memory
from app.server.connection import HttpConnection
from app.server.connection_limit import most_connections
from app.server.lingering_close import LingeringClose
from app.server.slow_readers import SlowReaders
from app.settings import Settings

_BACKLOG = 2048
_RECEIVE_BUFFER = 4 * 2**20
"""Bytes of an unread body that the kernel may hold, for each connection."""
_LAST_ANSWERS = 5
"""Seconds for answers still being written when everything else has ended."""


class AddressTaken(Exception):
    """Raised when the address cannot be listened on; its message is one clear line."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is known before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _make_roomy(listener)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise AddressTaken(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listener


def _make_roomy(listener: socket.socket) -> None:
    """Let the write of a client that is refused end at once: it goes on to read, and we need not read it.

    Connections inherit the buffer. A size of our own turns the kernel's tuning off (tcp(7)), which starts
    small but grows further than the size that an old `net.core.rmem_max` allows; there it is left alone.
    Memory is taken for bytes that are there, and `net.ipv4.tcp_mem` bounds it for all connections.
    """
    with socket.socket(listener.family, listener.type) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _RECEIVE_BUFFER:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


class Server(uvicorn.Server):
    """Runs the application's lifespan around the server, and drains before it closes the listener."""

    def __init__(self, app: FastAPI, settings: Settings, listener: socket.socket) -> None:
        linger = LingeringClose(settings.max_upload_bytes)
        shared = {
            "linger": linger,
            "outflows": SlowReaders(),
            "fast_reject": app.state.fast_reject,
            "most": most_connections(),
        }
        protocol = type("Connection", (HttpConnection,), shared)
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=True,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_LAST_ANSWERS,
            )
        )
        self._app = app
        self._service: Service = app.state.service
        self._listener = listener
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Serve until a signal; raises what kept the service from starting."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        async with self._app.router.lifespan_context(self._app), memory.kept_trimmed():
            if not self.should_exit:
                await super().serve([self._listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours are installed by `serve`: they drain, and the process ends with 0."""
        yield

    def _on_signal(self) -> None:
        if self._draining is None and self.started:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        await self._service.drain()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where the service is, once it accepts connections."""
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        url = f"http://{shown}:{port}"
        line = f"Spillway is ready at {url}  try: curl -F file=@photo.jpg {url}/v1/images\n"
        print(line, end="", flush=True)  # in one piece, for whoever waits for a line
