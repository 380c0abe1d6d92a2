"""Files in the store are damaged or removed by hand, and the clock is set, while the service runs."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.conftest import Start
from tests.service import SMALL, Service, until
from tests.system.faults.conftest import Faulty
from tests.system.http.expect import REDUCED_CAPACITY, problem


def record_of(service: Service, document: Any) -> Path:
    """The path of a job's record."""
    job_id = document["id"]
    return service.store / "images" / job_id[:2] / job_id / "job.json"


def is_served(service: Service, document: Any) -> bool:
    """Whether a job's document and thumbnail are served."""
    status = service.get(document["links"]["self"]).status
    assert status in (200, 404)
    assert service.get(f"{document['links']['self']}/thumb").status == status
    return status == 200


class TestRecords:
    """A record that is not what was written."""

    def test_of_images_that_are_done(self, start: Start) -> None:
        """The image is 404 whatever the record contains, also after a restart; others are not affected."""
        service = start(retention=3600)
        whole = service.upload(prefer="wait=20").json()
        record = record_of(service, whole).read_bytes()
        fields = json.loads(record)
        damages = [
            b"",
            record[: len(record) // 2],
            bytes(len(record)),
            b"[" * 100_000,
            record,  # another image's
            json.dumps(fields | {"made": {"thumb": "thumb.jpg"}}).encode(),
            json.dumps(fields | {"finished_at": 1e300}).encode(),
            json.dumps(fields | {"status": "eaten"}).encode(),
        ]
        damaged = [service.upload(prefer="wait=20").json() for _ in damages]
        for document, damage in zip(damaged, damages, strict=True):
            record_of(service, document).write_bytes(damage)
        served = [True] + [False] * len(damages)
        assert [is_served(service, document) for document in (whole, *damaged)] == served
        assert service.stop() == 0
        service.start()
        assert [is_served(service, document) for document in (whole, *damaged)] == served
        with service.client() as client:
            fields = {"authorization": f"Bearer {damaged[0]['delete_token']}"}
            problem(client.delete(damaged[0]["links"]["self"], headers=fields), 404, "not-found")
        assert service.upload(prefer="wait=20").status_code == 201

    def test_of_a_job_that_waits(self, start: Start) -> None:
        """The job is done, and its record is whole again."""
        service = start()
        with service.paused():
            document = service.upload().json()
            record_of(service, document).write_bytes(b"{")
        assert service.ended(document["id"])["status"] == "done"
        assert json.loads(record_of(service, document).read_bytes())["status"] == "done"


MENDED = "store was emptied by hand"


def empty(folder: Path) -> None:
    """Remove everything in `folder`, as `rm -rf folder/*` does."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class TestEmptied:
    """Everything in the store is removed while the service runs."""

    def test_is_mended(self, start: Start) -> None:
        """Uploads get 503 until the next sweep; what was stored is lost, what comes afterwards is kept."""
        service = start(rate=1000, burst=1000, retention=40)
        made = service.upload(prefer="wait=20").json()
        assert is_served(service, made)
        with service.paused() as (running,):
            waiting = service.upload()
            empty(service.store)
            problem(service.upload(), 503, REDUCED_CAPACITY, guard="breaker")
        until(lambda: MENDED in service.errors(), "a sweep")
        answer = service.taken(prefer="wait=20")
        assert is_served(service, answer.json())
        assert not is_served(service, made)
        for gone in (running, waiting):
            path = f"/v1/images/{gone.json()['id']}"
            until(lambda: service.get(path).status == 404, "a lost job to be known as such")  # noqa: B023
        stats = service.settled()
        assert stats["jobs"]["cancelled"] == 2
        files = [service.store / name for name in service.stored()]
        until(
            lambda: service.stats()["store_bytes"] == sum(map(_size, files)), "the bytes to be counted anew"
        )
        with service.client() as client:  # the secret is the same
            token = {"authorization": f"Bearer {answer.json()['delete_token']}"}
            assert client.delete(answer.json()["links"]["self"], headers=token).status_code == 204

    def test_and_its_folder_too(self, start: Start) -> None:
        """The folder of the store is removed as well, and made again."""
        service = start(rate=1000, burst=1000, retention=40)
        shutil.rmtree(service.store)
        until(lambda: MENDED in service.errors(), "a sweep")
        assert service.taken(prefer="wait=20").status_code == 201


def _size(path: Path) -> int:
    return path.stat().st_size if path.name != "job.json" else 0


class TestClock:
    """The system's clock is set while the service runs."""

    def test_back_an_hour(self, faulty: Faulty, tmp_path: Path) -> None:
        """No bucket, job, deadline or breaker waits for an hour, and images stay."""
        hand = tmp_path / "hand"
        hand.write_text("0")
        service = faulty(f"clock={hand}", retention=7200, rate=0.1, burst=2, max_hold=20)
        before = service.upload(prefer="wait=20").json()
        with service.paused() as (running,):
            waiting = service.upload().json()
            hand.write_text("-3600")
        for job_id in (running.json()["id"], waiting["id"]):
            document = service.ended(job_id)
            assert document["status"] == "done"
        after = service.upload(prefer="wait=20")
        assert after.status_code == 201
        assert after.json()["created_at"] < before["created_at"]
        with service.client() as client:
            for _ in range(3):
                answer = client.post("/v1/images", content=SMALL, headers={"content-type": "image/jpeg"})
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) <= 10
        assert is_served(service, before)
        assert service.stop() == 0
        service.start()
        assert is_served(service, before)
        assert is_served(service, after.json())
