"""The server: how many clients come in at a time."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from functools import partial

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.server.fast_reject import FastReject
from app.server.hooks import Hooks, render_as_json
from app.server.listener import listen
from app.server.uvicorn_server import Port, Server

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENTS = 40


async def _rounds_until_all_are_in() -> int:
    """How many rounds of the event loop it takes until `CLIENTS` that have come at once are answered."""
    started = asyncio.Event()
    came: list[Request] = []

    async def start() -> None:
        started.set()

    async def answer(request: Request) -> Response:
        came.append(request)
        return Response()

    app = Starlette(routes=[Route("/", answer)])
    nothing_refused = FastReject((), lambda _: None, lambda *_: Response(), lambda: None)
    hooks = Hooks(start, partial(asyncio.sleep, 0), nothing_refused, render_as_json)
    port = Port(app, listen("127.0.0.1", 0), hooks)
    serving = asyncio.create_task(Server(port, max_upload_bytes=1).serve())
    rounds = 0
    async with asyncio.timeout(30):
        await started.wait()
        with ExitStack() as stack:
            for _ in range(CLIENTS):
                client = socket.create_connection(port.listener.getsockname())
                stack.enter_context(client).sendall(GET)
            while len(came) < CLIENTS:
                rounds += 1
                await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    return rounds


def test_a_crowd_comes_in_within_a_few_rounds_of_the_event_loop() -> None:
    """Were it one client in each round, a flood would wait in the kernel while uploads are received."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_rounds_until_all_are_in()) < CLIENTS
