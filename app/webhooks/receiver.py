"""A receiver that checks each webhook and prints it on a line, to see what arrives and to try things out."""

import json
import signal
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from app.runtime import logs

_MAX_BODY_BYTES = 2**20
_TIMEOUT_S = 10.0


def serve(host: str, port: int, secrets: Sequence[str]) -> None:
    """Print what is posted to any path, until SIGTERM or SIGINT.

    Raises:
        OSError: it cannot listen there.
    """

    class Handler(_Handler):
        webhooks = tuple(Webhook(secret) for secret in secrets)

    with ThreadingHTTPServer((host, port), Handler) as server:
        server.daemon_threads = True
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        address = f"http://{host}:{server.server_port}/"
        logs.announce(f"Webhooks that are posted to {address} are printed here", address=address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    webhooks: tuple[Webhook, ...] = ()

    def do_POST(self) -> None:
        """Answer 204, or 401 where the signature is not that of any secret."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        event = self._verify(body)
        if event is None:
            print("refused: it is not signed with the secret, or too old", flush=True)
            self._answer(HTTPStatus.UNAUTHORIZED)
        else:
            print(describe(event, self.headers["webhook-id"]), flush=True)
            self._answer(HTTPStatus.NO_CONTENT)

    def _verify(self, body: bytes) -> Any:
        for webhook in self.webhooks:
            try:
                return webhook.verify(body, dict(self.headers))
            except (WebhookVerificationError, ValueError):
                continue
        return None

    def _answer(self, status: HTTPStatus) -> None:
        self.close_connection = self.close_connection or status != HTTPStatus.NO_CONTENT
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library uses
        """Nothing: the events are printed."""


def describe(event: Any, webhook_id: str) -> str:
    """One line about an event: what the webhook's receiver would act on."""
    job = event["data"]
    shown = {"webhook": webhook_id, "image": job["id"], "status": job["status"]}
    shown |= {name: job[name] for name in ("reference", "url") if job.get(name)}
    if job.get("problem"):
        shown["problem"] = job["problem"]["type"]
    return f"{event['timestamp']} {event['type']} {json.dumps(shown)}"
