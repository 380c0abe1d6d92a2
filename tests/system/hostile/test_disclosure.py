"""Answers tell browsers to trust nothing, and tell clients nothing of other clients or of the machine."""

import hmac
import json
import re
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from tests.service import SMALL, Answer, Service, fresh_address, serving

ORIGIN = "https://photos.example"
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def shy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small limits, so that every kind of refusal can be had."""
    settings = {"max_upload_bytes": "1MiB", "cors_origins": ORIGIN, "rate": 20, "burst": 40}
    with serving(tmp_path_factory.mktemp("shy"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def made(shy: Service) -> Any:
    """The document of an image that is done, with its delete token."""
    return shy.upload(prefer="wait=20").json()


def ask(service: Service, line: str, *fields: str, body: bytes = b"", address: str | None = None) -> Answer:
    """Send one request. Returns its answer."""
    with service.connect(address) as connection:
        length = (f"Content-Length: {len(body)}",) if body else ()
        connection.head(line, *fields, *length)
        connection.send(body)
        return connection.answer(body=not line.startswith("HEAD"))


def flood(service: Service) -> Answer:
    """Upload until the rate limiter refuses. Returns that answer."""
    address = fresh_address()
    while (answer := ask(service, "POST /v1/images", address=address)).status != 429:
        assert answer.status == 400
    return answer


def raw(service: Service, data: bytes) -> Answer:
    """Send bytes as they are. Returns the answer."""
    with service.connect() as connection:
        connection.send(data)
        return connection.answer()


def stream(service: Service) -> Answer:
    """The head of the answer of an event stream."""
    with service.connect() as connection:
        connection.head("GET /v1/stats/stream")
        return connection.answer(body=False)


IMAGE = "Content-Type: image/jpeg"
FORM = "Content-Type: multipart/form-data"
HTML = "Content-Type: text/html"
ANSWERS: dict[str, tuple[int, Callable[[Service, Any], Answer]]] = {
    "home": (200, lambda s, _: ask(s, "GET /")),
    "docs": (200, lambda s, _: ask(s, "GET /docs")),
    "description": (200, lambda s, _: ask(s, "GET /openapi.json")),
    "problem page": (200, lambda s, _: ask(s, "GET /problems/rate")),
    "script": (200, lambda s, _: ask(s, "GET /static/js/main.js")),
    "icon": (200, lambda s, _: ask(s, "GET /favicon.ico")),
    "quota": (200, lambda s, _: ask(s, "GET /v1/quota")),
    "stats": (200, lambda s, _: ask(s, "GET /v1/stats")),
    "head": (200, lambda s, _: ask(s, "HEAD /v1/stats")),
    "stream": (200, lambda s, _: stream(s)),
    "metrics": (200, lambda s, _: ask(s, "GET /metrics")),
    "health": (200, lambda s, _: ask(s, "GET /healthz")),
    "readiness": (200, lambda s, _: ask(s, "GET /readyz")),
    "document": (200, lambda s, m: ask(s, f"GET {m['links']['self']}")),
    "image": (200, lambda s, m: ask(s, f"GET {m['links']['self']}/thumb")),
    "preflight": (
        200,
        lambda s, _: ask(s, "OPTIONS /v1/images", f"Origin: {ORIGIN}", "Access-Control-Request-Method: POST"),
    ),
    "finished upload": (201, lambda s, _: ask(s, "POST /v1/images", IMAGE, "Prefer: wait=20", body=SMALL)),
    "upload": (202, lambda s, _: ask(s, "POST /v1/images", IMAGE, body=SMALL)),
    "events that are over": (
        204,
        lambda s, m: ask(s, f"GET {m['links']['events']}", "Last-Event-ID: done.4"),
    ),
    "part": (206, lambda s, m: ask(s, f"GET {m['links']['self']}/thumb", "Range: bytes=0-9")),
    "known image": (304, lambda s, m: ask(s, f"GET {m['links']['self']}/thumb", "If-None-Match: *")),
    "known page": (304, lambda s, _: ask(s, "GET /", "If-None-Match: *")),
    "no request": (400, lambda s, _: raw(s, b"nonsense\r\n\r\n")),
    "no boundary": (
        400,
        lambda s, _: ask(s, "POST /v1/images", FORM, body=b"x"),
    ),
    "no token": (401, lambda s, m: ask(s, f"DELETE {m['links']['self']}")),
    "wrong token": (
        403,
        lambda s, m: ask(s, f"DELETE {m['links']['self']}", "Authorization: Bearer x"),
    ),
    "nothing": (404, lambda s, _: ask(s, "GET /nowhere")),
    "no image": (404, lambda s, _: ask(s, "GET /v1/images/" + "0" * 32)),
    "wrong method": (405, lambda s, _: ask(s, "PUT /v1/images")),
    "too large": (413, lambda s, _: ask(s, "POST /v1/images", IMAGE, body=bytes(2**20 + 1))),
    "no image by its type": (
        415,
        lambda s, _: ask(s, "POST /v1/images", HTML, body=b"<a>"),
    ),
    "no image by its bytes": (415, lambda s, _: ask(s, "POST /v1/images", IMAGE, body=b"<script>" * 9)),
    "no such part": (
        416,
        lambda s, m: ask(s, f"GET {m['links']['self']}/thumb", "Range: bytes=1000000-"),
    ),
    "broken": (422, lambda s, _: ask(s, "POST /v1/images", IMAGE, "Prefer: wait=20", body=SMALL[:300])),
    "too many": (429, lambda s, _: flood(s)),
    "large head": (431, lambda s, _: ask(s, "GET /", "Cookie: " + "c" * 40_000)),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_closed(shy: Service, made: Any, name: str) -> None:
    """The security headers are there, and no word of the machine, its folders or addresses."""
    status, call = ANSWERS[name]
    answer = call(shy, made)
    assert answer.status == status, answer
    headers = answer.headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert not {"server", "x-powered-by", "via", "proxy-status"} & headers.keys()
    if status >= 400 or headers.get("content-type") == "application/json":
        text = json.dumps(dict(headers)) + answer.body.decode()
        for word in (str(shy.folder), "Traceback", ".py", "site-packages", socket.gethostname(), "127."):
            assert word not in text, word


def test_pages_hold_no_code_of_their_own(shy: Service) -> None:
    """Scripts and styles are files of this service, so that the policy needs no exception."""
    for path in ("/", "/docs", "/problems", "/problems/queue"):
        page = shy.get(path).body.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


class TestImages:
    """Only those who know an image's id can see it."""

    def test_no_listing(self, shy: Service, made: Any) -> None:
        """Nothing that can be read without an id contains an id, an address or a token."""
        shy.settled()
        paths = (
            "/",
            "/docs",
            "/openapi.json",
            "/v1/stats",
            "/v1/quota",
            "/metrics",
            "/healthz",
            "/readyz",
            "/problems",
        )
        for path in paths:
            text = shy.get(path).body.decode()
            assert made["id"] not in text
            assert made["delete_token"] not in text
            assert "127.0" not in text.replace("127.0.0.1:8000", ""), path
        for path in ("/v1/images", "/v1/images/", "/v1", "/v1/", "/static", "/static/", "/data", "/images"):
            assert shy.get(path).status in (404, 405)

    def test_ids_cannot_be_guessed(self, shy: Service) -> None:
        """Ids have 128 bits, and all digits of them vary."""
        ids = [shy.upload().json()["id"] for _ in range(24)]
        assert len(set(ids)) == 24
        assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
        for place in range(32):
            assert len({each[place] for each in ids}) > 4

    def test_tokens_are_kept_nowhere(self, shy: Service, made: Any) -> None:
        """A token is an HMAC of the id under the secret, which only its owner can read; no file has it."""
        token = made["delete_token"]
        secret = shy.store / "secret"
        assert secret.stat().st_mode & 0o077 == 0
        assert hmac.new(secret.read_bytes(), made["id"].encode(), sha256).hexdigest() == token
        shy.settled()  # files that a job has only while it runs come and go
        files = [path for path in shy.folder.rglob("*") if path.is_file()]
        assert len(files) > 5
        for path in files:
            data = path.read_bytes()
            assert token.encode() not in data, path
            assert bytes.fromhex(token) not in data, path
            assert path == secret or secret.read_bytes() not in data, path
        for path in (made["links"]["self"], made["links"]["events"]):
            assert token.encode() not in shy.get(path).body

    def test_another_s_token_is_none(self, shy: Service, made: Any) -> None:
        """Nor is a part of the right token, another spelling of it, or one that is not text."""
        token = made["delete_token"]
        other = shy.upload().json()["delete_token"]
        for wrong in (other, token[:-1], token + "0", token.upper(), "", "x", "\xe9" * 64, "0" * 5000):
            status = ask(shy, f"DELETE {made['links']['self']}", f"Authorization: Bearer {wrong}").status
            assert status in (401, 403), wrong
        assert shy.get(made["links"]["self"]).status == 200
