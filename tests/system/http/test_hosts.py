"""ALLOWED_HOSTS: which hosts are served."""

from collections.abc import Iterator

import pytest

from tests.service import SMALL, Service, fresh_address, serving
from tests.system.http.expect import problem


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that answers to one name, and to the address that the tests use."""
    hosts = "Photos.example, 127.0.0.1"
    folder = tmp_path_factory.mktemp("named")
    with serving(folder, allowed_hosts=hosts, rate=0.01, burst=1) as service:
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
        problem(answer, 421, "misdirected")


def test_a_health_check_without_a_host_is_answered(named: Service) -> None:
    """HTTP/1.0 needs none."""
    with named.connect() as connection:
        connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200
