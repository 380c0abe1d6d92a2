"""Request smuggling: no spelling of a request is taken for two by one side and for one by the other."""

from collections.abc import Iterator

import pytest

from tests.service import SMALL, Connection, Service
from tests.system.http.expect import problem

STOLEN = b"GET /v1/quota HTTP/1.1\r\nHost: stolen\r\n\r\n"
"""What a proxy would take for a body, and which must not be answered."""

pytestmark = pytest.mark.usefixtures("honest")


@pytest.fixture
def connection(fortress: Service) -> Iterator[Connection]:
    """A raw client."""
    with fortress.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    "request_",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        b"Content-Length: 0, 0\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: 0x0\r\n\r\n",
        b"Content-Length: 18446744073709551616\r\n\r\n",
        b"Content-Length : 0\r\n\r\n",
        b"Content-Length\t: 0\r\n\r\n",
        b"Content-Length: 0\rX: y\r\n\r\n",
        b"Content-Length: 0\0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n 0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
        b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Type: text/plain\r\nContent-Type: image/jpeg\r\nContent-Length: 0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"X: y\r\n Content-Length: 0\r\n\r\n",
        b" Content-Length: 0\r\n\r\n",
        b"X: y\nContent-Length: 0\r\n\r\n",
        b"X: y\r\n\n",
        b": empty\r\n\r\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(connection: Connection, request_: bytes) -> None:
    """One error, and the connection ends: what follows is not taken for a request."""
    connection.send(b"POST /v1/quota HTTP/1.1\r\nHost: a\r\n" + request_ + STOLEN)
    answer = connection.answer()
    kinds = {400: "bad-request", 405: "method-not-allowed", 501: "unknown-coding"}
    problem(answer, answer.status, kinds[answer.status])
    assert connection.ends()


@pytest.mark.parametrize(
    "line",
    [
        b"GET\t/healthz\tHTTP/1.1\r\n",
        b" GET /healthz HTTP/1.1\r\n",
        b"get /healthz HTTP/1.1\r\n",
        b"GET /healthz\r\n",
        b"GET /healthz HTTP/1.1 \r\n",
        b"GET /healthz HTTP/1.10\r\n",
        b"GET /healthz HTTP/2.0\r\n",
        b"GET /healthz HTTP/1.1\n",
        b"GET /health\0z HTTP/1.1\r\n",
        b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
    ],
)
def test_an_odd_request_line_is_refused(connection: Connection, line: bytes) -> None:
    """The answer is 400, and the connection ends."""
    connection.send(line + b"Host: a\r\n\r\n" + STOLEN)
    problem(connection.answer(), 400, "bad-request")
    assert connection.ends()


class TestUpgrade:
    """Requests for another protocol, which this service does not speak."""

    FIELDS = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"

    @pytest.mark.parametrize("apart", [False, True], ids=["at once", "body apart"])
    @pytest.mark.parametrize("upload", [True, False], ids=["upload", "refused"])
    def test_keeps_its_body(self, connection: Connection, *, apart: bool, upload: bool) -> None:
        """The bytes that Content-Length announces are the body; what follows is the next request."""
        kind = b"image/jpeg" if upload else b"text/plain"
        body = SMALL if upload else STOLEN
        head = b"POST /v1/images HTTP/1.1\r\n" + self.FIELDS + b"Content-Type: " + kind + b"\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(body)
        connection.send(head)
        if apart:
            assert upload or connection.answer().status == 415
            assert connection.is_silent(0.05)
        connection.send(body + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        if not (apart and not upload):
            assert connection.answer().status == (202 if upload else 415)
        assert connection.answer().json() == {"alive": True}
        assert connection.is_silent(0.05)

    def test_keeps_its_chunks(self, connection: Connection) -> None:
        """A chunked body stays the body of its request."""
        head = b"POST /v1/images HTTP/1.1\r\n" + self.FIELDS + b"Content-Type: image/jpeg\r\n"
        connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(SMALL))
        connection.send(SMALL + b"\r\n0\r\n\r\n")
        assert connection.answer().status == 202
        assert connection.is_silent(0.05)

    def test_is_still_checked(self, connection: Connection) -> None:
        """Two lengths are refused in such a request too."""
        fields = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        connection.send(b"POST /v1/images HTTP/1.1\r\n" + self.FIELDS + fields + STOLEN)
        problem(connection.answer(), 400, "bad-request")
        assert connection.ends()

    def test_thousands_in_a_row(self, connection: Connection) -> None:
        """Each is answered, in order."""
        connection.send((b"GET /healthz HTTP/1.1\r\n" + self.FIELDS + b"\r\n") * 2000)
        for _ in range(2000):
            assert connection.answer().status == 200
