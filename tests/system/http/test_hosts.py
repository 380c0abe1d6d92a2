"""ALLOWED_HOSTS: which hosts are served."""

from collections.abc import Iterator

import pytest

from tests.service import SMALL, Service, fresh_address, serving
from tests.system.http.expect import problem

PUBLIC_ORIGIN = "https://www.example:8443"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A demonstration that answers to one name, to that of its public URL, and to the tests' address."""
    hosts = {"allowed_hosts": "Photos.example, 127.0.0.1", "public_url": f"{PUBLIC_ORIGIN}/photos/"}
    folder = tmp_path_factory.mktemp("named")
    with serving(folder, demo=True, rate=0.01, burst=1, **hosts) as service:
        yield service


REQUESTS = ["GET /healthz", "GET /", "HEAD /metrics", "OPTIONS /v1/images", "GET /nothing"]


@pytest.mark.parametrize("line", REQUESTS)
def test_another_host_is_refused(named: Service, line: str) -> None:
    """421 for every request, with the fields that every answer has."""
    with named.connect() as connection:
        connection.send(f"{line} HTTP/1.1\r\nHost: evil.example:{named.port}\r\n\r\n".encode())
        answer = connection.answer(body=not line.startswith("HEAD"))
        assert answer.status == 421
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        connection.send(f"{line} HTTP/1.1\r\nHost: photos.example:{named.port}\r\n\r\n".encode())
        assert connection.answer(body=not line.startswith("HEAD")).status != 421


def test_an_upload_to_another_host_is_refused_whatever_its_bucket_holds(named: Service) -> None:
    """Early rejection does not answer in its place, and it costs no token."""
    address = fresh_address()
    head = f"POST /v1/images HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(SMALL)}\r\n"
    with named.connect(address) as connection:
        for host, status in (("evil.example", 421), ("photos.example", 202), ("evil.example", 421)):
            connection.send(f"{head}Host: {host}\r\n\r\n".encode() + SMALL)
            answer = connection.answer()
            assert answer.status == status
        problem(answer, 421, f"{PUBLIC_ORIGIN}/photos/problems/misdirected")


def test_the_host_of_the_public_url_is_an_own_one(named: Service) -> None:
    """It is served, and its page may use the demonstration, whichever Host a proxy makes of it."""
    for host, origin, status in (
        ("www.example:8443", PUBLIC_ORIGIN, 200),
        ("127.0.0.1", PUBLIC_ORIGIN, 200),
        ("127.0.0.1", "https://www.example", 403),
        ("127.0.0.1", "https://evil.example", 403),
    ):
        with named.connect() as connection:
            head = f"DELETE /v1/demo/levers HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n"
            connection.send(head.encode())
            assert connection.answer().status == status


def test_a_health_check_without_a_host_is_answered(named: Service) -> None:
    """HTTP/1.0 needs none."""
    with named.connect() as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200
