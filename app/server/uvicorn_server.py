"""The server: uvicorn with Spillway's connections and signals, and a drain before it stops listening."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


class Server(uvicorn.Server):
    """Serves an application inside its lifespan, and drains before the listener is closed."""

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        hooks: Hooks,
        *,
        max_upload_bytes: int,
        published_port: int | None = None,
        public_url: str = "",
    ) -> None:
        """Serve `app` on `listener`.

        `max_upload_bytes` is how much of a refused body is discarded so that its client sees the refusal.
        `published_port` is where a container passes connections on to the listener, if that is known.
        `public_url` is what links begin with; empty if they are paths.
        """
        limit = max_connections()
        lingering_close = LingeringClose(max_upload_bytes, limit // 2)
        shared = SharedParts(
            hooks.fast_reject, limit, lingering_close, hooks.fast_reject.cors, hooks.render_problem
        )
        super().__init__(
            uvicorn.Config(
                app,
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
        self._app = app
        self._app_started = hooks.started
        self._drain = hooks.drain
        self._listener = listener
        self._published_port = published_port
        self._public_url = public_url
        self._main: asyncio.Task[None] | None = None
        self._start: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Serve until a signal. Raises what kept the application from starting."""
        loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        try:
            async with self._app.router.lifespan_context(self._app), memory.kept_trimmed():
                await super().serve([self._listener])
                await self._end_of_start()
        except asyncio.CancelledError:
            if not self.should_exit:
                raise

    async def _end_of_start(self) -> None:
        """Raise what the start of the application has raised, if it has."""
        if self._start is not None and self._start.done() and not self._start.cancelled():
            await self._start
        elif self._start is not None:
            await tasks.cancel_and_wait([self._start])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`; uvicorn's own handlers would not drain, and end with the signal."""
        yield

    def _on_signal(self) -> None:
        """Drain at the first signal, stop at once at the second or before the server listens."""
        if self._draining is None and self.started:
            self._draining = asyncio.create_task(self._drain_and_stop())
            return
        self.should_exit = self.force_exit = True
        if not self.started and self._main is not None:
            self._main.cancel()

    async def _drain_and_stop(self) -> None:
        await self._drain()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and tell on standard output where the service is once it accepts uploads."""
        await super().startup(sockets)
        self._start = asyncio.create_task(self._finish_start(), name="end of the start")

    async def _finish_start(self) -> None:
        try:
            await self._app_started()
        except Exception:
            self.should_exit = True
            raise
        host, port = self._listener.getsockname()[:2]
        url = local_url(host, self._published_port or port)
        links, fields = self._public_url or url, {"url": url}
        where = f"Spillway is ready at {url}"
        if self._public_url:
            where += f", for its users at {self._public_url}/"
            fields["public_url"] = f"{self._public_url}/"
        logs.announce(f"{where}  try: curl -F file=@photo.jpg {links}/v1/images", **fields)
