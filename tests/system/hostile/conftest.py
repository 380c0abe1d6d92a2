"""A service under attack, and an honest client that must be served meanwhile."""

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import httpx
import pytest

from tests.service import SMALL as PHOTO
from tests.service import Service, serving, until

PROXIES = "127.200.0.0/16"
"""Loopback addresses that the service takes for its proxies."""


@pytest.fixture(scope="session")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all attacks but those on the rate limiter."""
    settings = {
        "rate": 50,
        "burst": 100,
        "max_upload_bytes": "4MiB",
        "worker_memory": "512MiB",
        "job_timeout": 4,
    }
    with serving(tmp_path_factory.mktemp("fortress"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a table of 2000 clients and low limits, which serves an honest client meanwhile."""
    settings = {"rate": 5, "burst": 100, "max_clients": 2000, "trusted_proxies": PROXIES}
    with serving(tmp_path_factory.mktemp("strict"), **settings) as service, Honest(service):
        yield service


class Honest(threading.Thread):
    """A client that keeps uploading a photo and fetching its thumbnail for the length of the block."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="honest client", daemon=True)
        self._service = service
        self._over = threading.Event()
        self.served = 0
        self.slowest = 0.0
        """Seconds of the slowest round."""
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()
        if error is None:
            assert not self.wrong, self.wrong
            assert self.served, "the honest client was not served once"

    def usual(self) -> float:
        """Seconds of the slower of its first two rounds: the speed of this machine without an attack."""
        until(lambda: self.served >= 2 or self.wrong, "the honest client to be served before the attack")
        return self.slowest

    def run(self) -> None:
        """Do at least one round, and one that began after the attack did."""
        with self._service.client() as client:
            while not self.served or not self._over.is_set():
                began = time.monotonic()
                try:
                    self._round(client)
                except (httpx.HTTPError, AssertionError) as error:
                    self.wrong.append(repr(error))
                    return
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.served += 1
                self._over.wait(0.2)  # no faster than tokens are added

    def _round(self, client: httpx.Client) -> None:
        fields = {"content-type": "image/jpeg", "prefer": "wait=20"}
        made = client.post("/v1/images?variants=thumb", content=PHOTO, headers=fields)
        assert made.status_code == 201, made.text
        served = client.get(made.json()["variants"]["thumb"]["url"])
        assert served.status_code == 200, served.text
        assert client.get("/healthz").status_code == 200


@pytest.fixture
def honest(fortress: Service) -> Iterator[Honest]:
    """A client that must be served during the whole test."""
    with Honest(fortress) as client:
        yield client
