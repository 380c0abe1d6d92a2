"""The services that the tests of the wire share: starting one costs more than most tests."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import Service, serving

PROXIES = "127.200.0.0/16"
ORIGIN = "https://photos.example"


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(name)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that has room: only its uploads are small."""
    with serving(_folder(tmp_path_factory, "roomy"), max_upload_bytes="1MiB", max_hold=20) as service:
        yield service


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that is soon full: 3 tokens, 2 waiting jobs, 3 uploads on their way in, 2 of them of one client.

    It believes proxies of `PROXIES`, lets pages of `ORIGIN` call, waits a second at most, holds 3 streams.
    """
    settings = {
        "rate": 0.05,
        "burst": 3,
        "queue_size": 2,
        "max_receiving": 3,
        "client_share": 2,
        "trusted_proxies": PROXIES,
        "cors_origins": ORIGIN,
        "max_hold": 1,
        "max_streams": 3,
    }
    with serving(_folder(tmp_path_factory, "tight"), **settings) as service:
        yield service


@pytest.fixture(scope="session")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One where all is short: uploads, the wait, the store, the life of images; other variants."""
    settings = {
        "upload_timeout": 7,
        "min_upload_rate": 1000,
        "max_receiving": 2,
        "max_wait": 0.2,
        "max_upload_bytes": "1MiB",
        "store_max_bytes": "1.5MiB",
        "retention": "1s",
        "variants": "thumb=96,web=640x@webp:70,clear_1=x16@png,avatar=40x40/cover-smart@jpeg+p3",
        "background": "teal",
    }
    with serving(_folder(tmp_path_factory, "brief"), **settings) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """A client of `service` with a bucket of its own."""
    with service.client() as client:
        yield client
