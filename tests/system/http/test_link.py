"""A refusal is seen over a link with delay and loss too."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.link import Unavailable, lossy_link
from tests.service import Connection, Executed, Service, serving
from tests.system.http.expect import QUOTA_EXCEEDED, problem

MEGABYTE = bytes(10**6)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Service]:
    """A service that refuses everybody, behind a bad link with a round trip of 50 ms."""
    try:
        with (
            lossy_link(delay_ms=25, loss_percent=1) as host,
            serving(tmp_path, kind=Executed, host="0.0.0.0", rate=0.001, burst=1) as service,  # noqa: S104
        ):
            with Connection(host, service.port) as connection:
                connection.head("POST /v1/images", "Content-Length: 0")
                assert connection.answer().status == 400
            service.host = host
            yield service
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_by_clients_that_write_all_before_they_read(far: Service) -> None:
    """Ten at once, each with a megabyte to write: ten see their 429."""

    def upload(_: int) -> None:
        with Connection(far.host, far.port) as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(MEGABYTE)}")
            connection.send(MEGABYTE)
            problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")
            assert connection.ends()

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(upload, range(10)))
