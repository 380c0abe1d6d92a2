"""The server: uvicorn with Spillway's connections and signals, and a drain before it stops listening."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import uvicorn
from starlette.applications import Starlette

from app.runtime import logs, memory, tasks
from app.server.connection import HttpConnection
from app.server.connection_limit import max_connections
from app.server.connection_state import SharedParts
from app.server.hooks import Hooks
from app.server.lingering_close import LingeringClose
from app.server.listener import BACKLOG, local_url

_LAST_ANSWERS_TIMEOUT_S = 5
"""For answers that are still being sent when everything else has ended."""
_MAX_ACCEPTS_PER_ROUND = 8
"""Connections that are accepted in one round of the event loop, where enough files may be open.

uvloop's libuv accepts one for each handle that listens (https://github.com/libuv/libuv/pull/3696). In a flood
a round takes long, so with one handle more clients come than are let in: they wait in the kernel, which fills
its memory with their bodies until no connection gets on.
"""
_CONNECTIONS_PER_ACCEPT = 64
"""For each connection that is accepted in a round, so many may be open."""
_ADMIN_PART = 16
"""Of so many connections that may be open, one is kept for the administration's port."""


@dataclass(frozen=True, slots=True)
class Port:
    """A listening socket, the application that answers there, and what the server asks of it."""

    app: Starlette
    listener: socket.socket
    hooks: Hooks

    @property
    def url(self) -> str:
        """The URL at which it is reached from its own machine."""
        return local_url(*self.listener.getsockname()[:2])


@dataclass(frozen=True, slots=True)
class Outside:
    """What the ready line says of how the service is reached from elsewhere."""

    published_port: int | None = None
    """Where a container passes connections on to the listener, if that is known."""
    public_url: str = ""
    """What links begin with; empty if they are paths."""

    def ready_line(self, port: Port, admin: Port | None) -> tuple[str, dict[str, str]]:
        """The line, and what it says as fields."""
        host, number = port.listener.getsockname()[:2]
        fields = {"url": local_url(host, self.published_port or number)}
        line = f"Spillway is ready at {fields['url']}"
        if admin is not None:
            fields["admin_url"] = admin.url
            line += f"  admin: {admin.url}"
        if self.public_url:
            fields["public_url"] = f"{self.public_url}/"
            line += f"  public: {self.public_url}/"
        links = self.public_url or fields["url"]
        return f"{line}  try: curl -F file=@photo.jpg {links}/v1/images", fields


_NOTHING = Outside()


class _PortServer(uvicorn.Server):
    """Serves one port until `should_exit` is set; its connections are counted apart from those of others."""

    def __init__(self, port: Port, connections: int, max_upload_bytes: int) -> None:
        lingering_close = LingeringClose(max_upload_bytes, connections // 2)
        fast_reject = port.hooks.fast_reject
        shared = SharedParts(
            fast_reject, connections, lingering_close, fast_reject.cors, port.hooks.render_problem
        )
        super().__init__(
            uvicorn.Config(
                port.app,
                http=partial(HttpConnection, shared),  # type: ignore[arg-type]  # only called by uvicorn
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=True,
                backlog=BACKLOG,
                timeout_graceful_shutdown=_LAST_ANSWERS_TIMEOUT_S,
            )
        )
        self._listener = port.listener
        # The connections of one round are open before room is made for them.
        self._accepts = max(1, min(_MAX_ACCEPTS_PER_ROUND, connections // _CONNECTIONS_PER_ACCEPT))
        self.listening = asyncio.Event()

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Serve until told to exit."""
        await super().serve([self._listener, *(self._listener.dup() for _ in range(1, self._accepts))])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `Server`; uvicorn's own handlers would not drain, and end with the signal."""
        yield


class Server:
    """Serves an application inside its lifespan, and drains before the listener is closed."""

    def __init__(
        self, port: Port, *, max_upload_bytes: int, admin: Port | None = None, outside: Outside = _NOTHING
    ) -> None:
        """Serve the application of `port`, whose lifespan and hooks are also those of `admin`.

        `max_upload_bytes` is how much of a refused body is discarded so that its client sees the refusal.
        """
        limit = max_connections()
        for_admin = max(1, limit // _ADMIN_PART) if admin is not None else 0
        self._servers = [_PortServer(port, limit - for_admin, max_upload_bytes)]
        if admin is not None:
            self._servers.append(_PortServer(admin, for_admin, max_upload_bytes))
        self._port = port
        self._admin = admin
        self._outside = outside
        self._main: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Serve until a signal. Raises what kept the application from starting."""
        loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        app = self._port.app
        try:
            async with app.router.lifespan_context(app), memory.kept_trimmed():
                start = asyncio.create_task(self._finish_start(), name="end of the start")
                try:
                    await asyncio.gather(*(each.serve() for each in self._servers))
                finally:
                    await tasks.cancel_and_wait([start])
                if not start.cancelled():
                    await start
        except asyncio.CancelledError:
            if not self._servers[0].should_exit:
                raise

    def _on_signal(self) -> None:
        """Drain at the first signal, stop at once at the second or before the server listens."""
        has_started = all(each.started for each in self._servers)
        if self._draining is None and has_started:
            self._draining = asyncio.create_task(self._drain_and_stop())
            return
        self._exit(force=True)
        if not has_started and self._main is not None:
            self._main.cancel()

    async def _drain_and_stop(self) -> None:
        await self._port.hooks.drain()
        self._exit()

    def _exit(self, *, force: bool = False) -> None:
        for each in self._servers:
            each.should_exit = True
            each.force_exit = each.force_exit or force

    async def _finish_start(self) -> None:
        """Tell on standard output where the service is, once every port is open and uploads are accepted."""
        try:
            for each in self._servers:
                await each.listening.wait()
            await self._port.hooks.started()
        except Exception:
            self._exit()
            raise
        line, fields = self._outside.ready_line(self._port, self._admin)
        logs.announce(line, **fields)
