"""A receiver of webhooks on loopback, which does with each request what a test has told it to do."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

from app.webhooks.sender import HttpSender
from tests.service import until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


@dataclass(frozen=True)
class Received:
    """One request: its header fields in lower case, its body, and the port that it came from."""

    path: str
    headers: dict[str, str]
    body: bytes
    port: int

    @property
    def id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        """The type of the event."""
        return str(self.payload["type"])

    @property
    def payload(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def verified(self, secret: str = SECRET) -> Any:
        """What the library of Standard Webhooks makes of it. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


Reply = tuple[int, dict[str, str]]
"""The status and further header fields of an answer."""


class Receiver:
    """Answers each request with the next of `replies`, and with 204 when there is none left."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.replies: list[Reply] = []
        self.usual: Reply = (204, {})
        self.hang = threading.Event()
        """While it is set, requests get no answer."""
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hooks"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    receiver.received.append(Received(self.path, fields, body, self.client_address[1]))
                    status, more = receiver.replies.pop(0) if receiver.replies else receiver.usual
                while receiver.hang.is_set():
                    time.sleep(0.01)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the name that the library calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def of(self, job_id: str) -> list[Received]:
        """The requests so far that are about a job."""
        with self._lock:
            return [each for each in self.received if each.payload["data"]["id"] == job_id]

    def types_of(self, job_id: str) -> list[str]:
        """The events so far of a job."""
        return [each.type for each in self.of(job_id)]

    def waits_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until something is true of what was received."""
        return until(condition, what, show=lambda: [each.payload for each in self.received])


def post_signed(url: str, kind: str, job_id: str) -> int:
    """Post an event as the service does; the status of the answer."""
    payload = {
        "type": kind,
        "timestamp": "2026-01-01T00:00:00.000Z",
        "data": {"id": job_id, "status": "done", "reference": "order 7", "url": f"/v1/images/{job_id}/thumb"},
    }

    async def post() -> int:
        sender = HttpSender(url, [SECRET])
        try:
            return (await sender.post("msg_7", json.dumps(payload))).status
        finally:
            await sender.close()

    return asyncio.run(post())


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver for the length of the block."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hang.clear()
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
