"""HTTP/1.1 as bytes on a connection: request heads that are too large or wrong, and pipelined requests."""

import socket
import time

import pytest

from app.server.connection import IDLE_TIMEOUT_S
from tests.service import SMALL, Service, until
from tests.system.http.conftest import ORIGIN
from tests.system.http.expect import problem


class TestHeads:
    """Request heads are bounded in size and checked."""

    @pytest.mark.parametrize(
        "head",
        [
            b"this is not HTTP\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nNul: \0\r\n\r\n",
        ],
    )
    def test_malformed(self, service: Service, head: bytes) -> None:
        """Bytes that are not an HTTP request get a 400 as a problem, and the connection is closed."""
        with service.connect() as connection:
            connection.send(head)
            answer = connection.answer()
            problem(answer, 400, "bad-request")
            assert answer.headers["connection"] == "close"
            assert connection.ends()

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nCookie: " + b"c" * 40_000 + b"\r\n\r\n",
            b"GET /" + b"p" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 3000,
            b"G" * 40_000,
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nCookie: " + b"c" * 900_000,
        ],
        ids=["long field", "long target", "many fields", "long method", "endless field"],
    )
    def test_too_large(self, service: Service, head: bytes) -> None:
        """A head of more than 32 KiB gets a 431, or a 414 for its target, even if it is sent whole first."""
        with service.connect() as connection:
            connection.send(head)
            answer = connection.answer()
            if head.startswith(b"GGGG"):
                assert answer.status in (400, 431)  # no method is that long, so both are right
            elif head.startswith(b"GET /p"):
                problem(answer, 414, "uri-too-long")
            else:
                problem(answer, 431, "headers-too-large")
            assert connection.ends()

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /healthz HTTP/1.1\r\n\r\n",
            b"GET http://spillway.test/healthz HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        ],
        ids=["none", "in the target alone", "twice", "twice in 1.0"],
    )
    def test_name_their_host_once(self, service: Service, head: bytes) -> None:
        """A head without Host, or with two, gets a 400 (RFC 9112) with the fields that every answer has."""
        with service.connect() as connection:
            connection.send(head)
            answer = connection.answer()
            assert "Host" in problem(answer, 400, "bad-request")["detail"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert connection.ends()

    def test_may_name_no_host(self, service: Service) -> None:
        """An empty Host counts as a Host."""
        with service.connect() as connection:
            connection.send(b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n")
            assert connection.answer().status == 200

    def test_nearly_too_large(self, service: Service) -> None:
        """A head of 30 KiB is accepted."""
        with service.connect() as connection:
            connection.head("GET /healthz", "Cookie: " + "c" * 30_000)
            assert connection.answer().status == 200

    def test_wrong_type_of_target(self, service: Service) -> None:
        """Absolute, encoded and misleading targets are answered, and never cause a crash."""
        for target, status in (
            ("http://spillway.test/healthz", 200),
            ("/healthz?x=%ff%00", 200),
            ("/%68ealthz", 200),
            ("/v1/images/%2e%2e%2f%2e%2e%2fsecret", 404),
            ("/v1/images/../../data/secret", 404),
            ("/static/..%2f..%2fmain.py", 404),
            ("//healthz", 404),
        ):
            with service.connect() as connection:
                connection.head(f"GET {target}")
                answer = connection.answer()
                assert answer.status == status, target
                if status == 404:
                    problem(answer, 404, "not-found")

    @pytest.mark.parametrize("host", ["a b/@<>", "a/b", "user@a", "[::1", "a:b"])
    def test_name_a_host(self, service: Service, host: str) -> None:
        """What is no host gets a 400."""
        with service.connect() as connection:
            connection.send(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert "Host" in problem(connection.answer(), 400, "bad-request")["detail"]
            assert connection.ends()

    def test_an_upload_in_another_coding(self, service: Service) -> None:
        """A transfer coding that is not understood gets a 501, which is its own kind."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", "Transfer-Encoding: gzip, chunked")
            problem(connection.answer(), 501, "unknown-coding")
            assert connection.ends()

    def test_an_upload_of_two_types(self, service: Service) -> None:
        """Whoever reads the first type and who reads the last would see two uploads."""
        with service.connect() as connection:
            types = "Content-Type: image/jpeg", "Content-Type: text/plain"
            connection.head("POST /v1/images", *types, "Content-Length: 4")
            assert "content-type" in problem(connection.answer(), 400, "bad-request")["detail"]
            assert connection.ends()

    def test_refusals_can_be_read_across_origins(self, tight: Service) -> None:
        """A page that is allowed to call sees what is wrong with its head."""
        with tight.connect() as connection:
            connection.head("GET /" + "a" * 9000, f"Origin: {ORIGIN}")
            answer = connection.answer()
            problem(answer, 414, "uri-too-long")
            assert answer.headers["access-control-allow-origin"] == ORIGIN

    def test_old_http_expects_nothing(self, service: Service) -> None:
        """A client of HTTP/1.0 gets no 100, though it asks for one, but its answer."""
        with service.connect() as connection:
            fields = b"Content-Type: image/jpeg\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            connection.send(b"POST /v1/images HTTP/1.0\r\n" + fields % len(SMALL))
            assert connection.is_silent(0.1)
            connection.send(SMALL)
            assert connection.answer().status == 202


class TestPipelining:
    """Several requests on one connection."""

    def test_pipelined(self, tight: Service) -> None:
        """Requests sent together are answered in their order, and each spends a token of its own."""
        tight.settled()
        with tight.connect() as connection:
            upload = (
                b"POST /v1/images?variants=thumb HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: " + str(len(SMALL)).encode() + b"\r\n\r\n" + SMALL
            )
            read = b"GET /v1/quota HTTP/1.1\r\nHost: a\r\n\r\n"
            connection.send(upload + read + upload + read + b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
            answers = [connection.answer() for _ in range(5)]
            assert [answer.status for answer in answers] == [202, 200, 202, 200, 404]
            assert [answers[1].json()["remaining"], answers[3].json()["remaining"]] == [2, 1]
        tight.settled()

    def test_pipelined_after_a_small_refused_body(self, service: Service) -> None:
        """The body of a refused request is not taken for the next request."""
        body = b"GET /stolen HTTP/1.1\r\nHost: a\r\n\r\n"
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: text/plain", f"Content-Length: {len(body)}")
            connection.send(body + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            problem(connection.answer(), 415, "unsupported-media-type")
            assert connection.answer().status == 200
            assert connection.is_silent()

    def test_nothing_after_a_large_refused_body(self, service: Service) -> None:
        """After a large refused body the connection accepts no further request."""
        with service.connect() as connection:
            connection.head("POST /v1/images", "Content-Type: text/plain", "Content-Length: 500000")
            stolen = b"GET /stolen HTTP/1.1\r\nHost: a\r\n\r\n"
            connection.send(stolen.ljust(500_000) + stolen)
            answer = connection.answer()
            problem(answer, 415, "unsupported-media-type")
            assert answer.headers["connection"] == "close"
            assert connection.ends()

    @pytest.mark.parametrize(
        "fields",
        [
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 5"),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding : chunked",),
        ],
    )
    def test_no_smuggling(self, service: Service, fields: tuple[str, ...]) -> None:
        """A body with two lengths or an unknown coding gets one answer, and what follows is not a request."""
        with service.connect() as connection:
            connection.head("POST /v1/quota", *fields)
            connection.send(b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = connection.answer()
            assert answer.status >= 400
            assert answer.headers["content-type"] == "application/problem+json"
            assert connection.ends()

    def test_answers_before_garbage(self, service: Service) -> None:
        """Complete requests before a malformed one are answered in order, and then the 400 comes."""
        with service.connect() as connection:
            good = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
            connection.send(good + good + b"garbage\r\n\r\n")
            assert [connection.answer().status for _ in range(2)] == [200, 200]
            problem(connection.answer(), 400, "bad-request")
            assert connection.ends()

    def test_a_broken_body_behind_another_request(self, service: Service) -> None:
        """A pipelined upload with a malformed chunked body is refused after the answers before it."""
        with service.connect() as connection:
            connection.send(
                b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nPOST /v1/images HTTP/1.1\r\nHost: a\r\n"
                b"Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
            )
            assert connection.answer().status == 200
            problem(connection.answer(), 400, "bad-request")
            assert connection.ends()

    def test_old_http(self, service: Service) -> None:
        """A request of HTTP/1.0 is answered, and then the connection is closed."""
        with service.connect() as connection:
            connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.answer().status == 200
            assert connection.ends()

    def test_closes_when_asked(self, service: Service) -> None:
        """`Connection: close` is respected."""
        with service.connect() as connection:
            connection.head("GET /healthz", "Connection: close")
            assert connection.answer().headers["connection"] == "close"
            assert connection.ends()

    def test_no_upgrade(self, service: Service) -> None:
        """A request to upgrade to another protocol is answered as if it had not asked for that."""
        with service.connect() as connection:
            connection.head("GET /healthz", "Connection: Upgrade", "Upgrade: websocket")
            assert connection.answer().status == 200
        with service.connect() as connection:
            connection.head("GET /healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
            assert connection.answer().status == 200
            connection.head("GET /healthz")
            assert connection.answer().status == 200

    def test_a_body_that_nobody_reads(self, service: Service) -> None:
        """A body on a GET does no harm."""
        with service.connect() as connection:
            for _ in range(2):
                connection.head("GET /healthz", "Content-Length: 4")
                connection.send(b"body")
                assert connection.answer().status == 200


def test_leaves_no_connection_behind(service: Service) -> None:
    """After all of these tests the service is ready and no receiving slot is occupied."""
    until(lambda: service.stats()["backlog"]["receiving"] == 0, "receiving slots to be released")
    with service.client() as client:
        assert client.get("/readyz").status_code == 200


def test_a_client_that_shuts_its_sending_side_is_answered(service: Service) -> None:
    """A half-closed connection still carries the answer to a complete upload, and is then closed."""
    with service.connect() as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")
        connection.send(SMALL)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.answer().status == 202
        assert connection.ends()


def test_half_a_request_behind_another_takes_no_answer_away(service: Service) -> None:
    """A client that half-closes in the middle of a second head still gets the answer to the first."""
    with service.connect() as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}")
        connection.send(SMALL + b"GET /healthz HTTP/1.1\r\nHo")
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.answer().status == 202
        assert connection.ends()


def test_a_client_that_shuts_its_sending_side_gets_every_answer(service: Service) -> None:
    """Pipelined requests are all answered; then the connection is closed at once, without an idle time."""
    with service.connect() as connection:
        connection.send(b"DELETE /v1/images/x HTTP/1.1\r\nHost: a\r\n\r\n" * 4)
        connection.socket.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        assert [connection.answer().status for _ in range(4)] == [404] * 4
        assert connection.ends()
        assert time.monotonic() - began < IDLE_TIMEOUT_S - 1
