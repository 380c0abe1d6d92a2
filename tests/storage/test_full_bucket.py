"""A bucket whose quota is used up: uploads get 507, and accepted jobs wait until there is room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service, serving, until
from tests.storage.servers import QuotaProxy, S3Server
from tests.system.http.expect import problem

ANSWERS = [(403, "QuotaExceeded"), (507, "XMinioStorageFull")]


@pytest.fixture(params=ANSWERS, ids=[code for _, code in ANSWERS])
def quota(request: pytest.FixtureRequest, moto: S3Server) -> Iterator[QuotaProxy]:
    """A proxy in front of the server that can answer as if the quota were used up."""
    with QuotaProxy(moto, *request.param).running() as proxy:
        yield proxy


@pytest.fixture
def service(
    quota: QuotaProxy, moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A service on a bucket behind the proxy."""
    for name, value in quota.environment.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path, store_url=f"s3://{moto.new_bucket()}/photos", rate=1000, burst=1000) as service:
        yield service


@pytest.mark.parametrize("step", ["images", "records"])
def test_an_accepted_job_is_tried_again_until_there_is_room(
    service: Service, quota: QuotaProxy, step: str
) -> None:
    """The variants, or the record, are refused in several attempts; the job neither fails nor is lost."""
    service.settled()
    with service.paused() as (waiting,):
        quota.full_for = f"/photos/{step}/"
    until(lambda: service.errors().count("the store failed, the job is tried again") >= 2, "two attempts")
    assert service.status_of(waiting.json()["id"]) in ("queued", "processing")
    quota.full_for = ""
    document = service.ended(waiting.json()["id"])
    assert document["status"] == "done"
    assert "problem" not in document
    stats = service.settled()
    assert (stats["jobs"]["done"], stats["jobs"]["failed"]) == (1, 0)
    assert stats["breakers"]["store"] == "closed"


@pytest.mark.parametrize("step", ["sources", "records"])
def test_an_upload_that_the_bucket_has_no_room_for_is_refused(
    service: Service, quota: QuotaProxy, step: str
) -> None:
    """As guard 6 would have refused it. However many are, the store works, and its breaker stays closed."""
    made = service.upload(prefer="wait=20").json()
    quota.full_for = f"/photos/{step}/"
    for _ in range(7):
        problem(service.upload(), 507, "disk", guard="disk")
    assert service.stats()["breakers"]["store"] == "closed"
    assert service.get(made["variants"]["thumb"]["url"]).status == 200
    quota.full_for = ""
    assert service.taken(prefer="wait=20").status_code == 201


def test_a_full_bucket_does_not_keep_a_service_from_stopping(service: Service, quota: QuotaProxy) -> None:
    """The state for the next start cannot be kept, which is logged."""
    service.settled()
    quota.full_for = "/photos/"
    assert service.stop() == 0
    assert "could not be saved for the next run" in service.errors()
