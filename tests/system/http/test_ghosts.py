"""Reservations that nobody redeems keep nobody out, nor whoever was told minutes because of them."""

from collections.abc import Iterator

import pytest

from tests.service import SMALL, Service, serving, until
from tests.system.http.expect import REDUCED_CAPACITY, limits, problem

QUEUE, NETWORKS, HEADS = 4, 60, 10
HONEST = "127.78.0.1"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whose queue is soon full, and whose clients have tokens enough."""
    settings = {"queue_size": QUEUE, "rate": 0.01, "burst": 50, "workers": 1, "brownout": "off"}
    with serving(tmp_path_factory.mktemp("ghosts"), **settings) as service:
        yield service


def leave_ghosts(service: Service, network: int) -> None:
    """Send the heads of uploads from a /24 network, two for each of its addresses, and never come back."""
    for number in range(HEADS):
        with service.connect(f"127.77.{network}.{1 + number // 2}") as connection:
            length = f"Content-Length: {5000 + number}"
            connection.head("POST /v1/images", "Content-Type: image/jpeg", length, "Expect: 100-continue")
            assert connection.answer().status == 503


def test_a_client_that_was_told_to_come_later_gets_in_when_nobody_is_there(service: Service) -> None:
    """After 600 heads of 60 networks it comes early, finds the queue empty, and gets in for a token.

    So does another upload of a client that has reservations.
    """
    with service.paused():
        for _ in range(QUEUE):
            assert service.upload().status_code == 202
        for network in range(NETWORKS):
            leave_ghosts(service, network)
        refusal = service.upload(address=HONEST)
        problem(refusal, 503, REDUCED_CAPACITY, guard="queue")
        assert int(refusal.headers["retry-after"]) > 5
        assert service.stats()["backlog"]["outstanding"] > NETWORKS * HEADS / 2
    until(lambda: service.stats()["backlog"]["waiting"] == 0, "an empty queue")
    admitted = service.upload(address=HONEST)
    assert admitted.status_code == 202, admitted.text
    assert limits(admitted.headers)[1]["ip"]["r"] == 48, "it came early, so that its try costs a token"
    until(lambda: service.stats()["backlog"]["waiting"] == 0, "an empty queue")
    holder = service.upload(SMALL + bytes(7), address="127.77.59.5")
    assert holder.status_code == 202, holder.text
