"""The disk is full, read-only, slow or gone: uploads are refused, images served, accepted jobs done later."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from app.server.problems import REDUCED_CAPACITY
from tests.service import SMALL, children, until
from tests.system.faults.conftest import Faulty, Mounted
from tests.system.http.expect import problem

LARGE = SMALL + bytes(600_000)
"""A small photo with much behind it."""


def fill(service: Mounted) -> None:
    """Write a file until no byte is free on the disk of the store."""
    try:
        with (service.store / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass


def refusals(service: Mounted) -> list[httpx.Response] | None:
    """The answers to two uploads if both were 507. The disk is filled first, since files are freed late."""
    fill(service)
    answers = [service.upload(body) for body in (SMALL, LARGE)]
    return answers if all(answer.status_code == 507 for answer in answers) else None


class TestFull:
    """No space is left on the device, though STORE_MAX_BYTES is not reached."""

    def test_uploads_are_refused(self, mounted: Mounted) -> None:
        """Uploads that do not fit get 507; images are served and can be deleted, which makes room."""
        made = mounted.upload(LARGE, prefer="wait=20").json()
        mounted.settled()  # by then the job's other files have been removed
        until(lambda: not any(map(children, mounted.workers())), "the job's process to end")
        for answer in until(lambda: refusals(mounted), "the disk to be full"):
            problem(answer, 507, "disk", guard="disk")
        assert mounted.get(made["variants"]["thumb"]["url"]).status == 200
        assert mounted.get("/healthz").status == 200
        with mounted.client() as client:
            token = {"authorization": f"Bearer {made['delete_token']}"}
            assert client.delete(made["links"]["self"], headers=token).status_code == 204
        assert mounted.get(made["links"]["self"]).status == 404
        (mounted.store / "ballast").unlink()
        assert mounted.taken(prefer="wait=20").status_code == 201
        mounted.settled()
        assert not [name for name in mounted.stored() if not name.startswith("images/")]

    def test_accepted_jobs_are_done_when_there_is_room(self, mounted: Mounted) -> None:
        """Accepted jobs wait and do not fail, because the lack of space is not their fault."""
        with mounted.paused() as (running,):
            waiting = [mounted.upload() for _ in range(3)]
            fill(mounted)
        until(lambda: "the store failed, the job" in mounted.errors(), "a job to miss its room")
        assert mounted.status_of(running.json()["id"]) in ("queued", "processing")
        (mounted.store / "ballast").unlink()
        for answer in (running, *waiting):
            assert mounted.ended(answer.json()["id"])["status"] == "done"
        assert mounted.stats()["jobs"]["failed"] == 0


class TestFullWhileVariantsAreStored:
    """The variants are made, but the disk has no room for them."""

    def test_the_job_is_tried_again_until_there_is_room(self, faulty: Faulty) -> None:
        """It is tried more often than a job may lose its worker, because no worker is to blame."""
        service = faulty("full=3")
        assert service.upload(prefer="wait=20").json()["status"] == "done"
        assert service.errors().count("the store failed, the job is tried again") == 3
        stats = service.settled()
        assert (stats["jobs"]["done"], stats["jobs"]["failed"]) == (1, 0)
        assert not [name for name in service.stored() if not name.startswith("images/")]


class TestReadOnly:
    """The store became read-only, as file systems do after a disk error."""

    def test_what_is_there_is_served(self, mounted: Mounted) -> None:
        """Uploads and deletions get 503 and images are served, until the store can be written again."""
        made = mounted.upload(prefer="wait=20").json()
        with mounted.paused() as (running,):
            mounted.become_read_only()
        for _ in range(6):
            problem(mounted.upload(), 503, REDUCED_CAPACITY, guard="breaker")
        assert mounted.get(made["variants"]["large"]["url"]).status == 200
        with mounted.client() as client:
            token = {"authorization": f"Bearer {made['delete_token']}"}
            problem(
                client.delete(made["links"]["self"], headers=token), 503, REDUCED_CAPACITY, guard="breaker"
            )
            assert client.get(made["links"]["self"]).json()["status"] == "done"
        assert mounted.get("/readyz").status == 503
        assert mounted.status_of(running.json()["id"]) in ("queued", "processing")
        mounted.become_writable()
        mounted.taken(prefer="wait=20")
        assert mounted.ended(running.json()["id"])["status"] == "done"
        until(lambda: mounted.get("/readyz").status == 200, "the breaker to close")


class TestSlow:
    """No write and no fsync comes to its end for a while."""

    def test_holds_up_uploads_and_nobody_else(self, faulty: Faulty, tmp_path: Path) -> None:
        """While five uploads wait for the disk, the event loop and images do not: they would never end."""
        stall = tmp_path / "stall"
        service = faulty(f"stalled={stall}", rate=1000, burst=1000)
        made = service.upload(prefer="wait=30").json()
        with ThreadPoolExecutor(5) as threads, service.client() as reader:
            stall.touch()
            try:
                uploads = [threads.submit(service.upload, SMALL) for _ in range(5)]
                until(lambda: service.stats()["backlog"]["receiving"] == 5, "the uploads to be on their way")
                for path in ("/healthz", made["variants"]["large"]["url"]) * 10:
                    assert reader.get(path).status_code == 200
                assert not any(upload.done() for upload in uploads), "they wait for the disk"
            finally:
                stall.unlink()
            assert [upload.result().status_code for upload in uploads] == [202] * 5


class TestGone:
    """The disk is no longer mounted, and its mount point looks like an empty store."""

    def test_is_not_made_up_for(self, mounted: Mounted) -> None:
        """Nothing is written in the place of the disk; a start that finds the disk finds its images."""
        made = mounted.upload(prefer="wait=20").json()
        mounted.vanish()
        problem(mounted.upload(), 503, REDUCED_CAPACITY, guard="breaker")
        until(lambda: "sweep failed" in mounted.errors(), "a sweep")
        for _ in range(3):
            problem(mounted.upload(), 503, REDUCED_CAPACITY, guard="breaker")
        assert not list(mounted.store.iterdir())
        assert mounted.get("/healthz").status == 200
        assert mounted.get(made["links"]["self"]).status in (200, 404)
