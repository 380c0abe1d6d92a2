"""Brownout, by a real service: a small queue, one worker, photos that keep it busy for a moment."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests import samples
from tests.conftest import Start
from tests.service import Service, children, fresh_address, stopped, until
from tests.system.http.expect import problem
from tests.system.http.test_streams import open_stream

PHOTO = samples.jpeg(640, 480)
SLOW = samples.png(1800, 1350, compress_level=1)
"""A photo of which every batch takes a moment, because a PNG is decoded entirely."""
OWN_THUMBNAIL = samples.jpeg(640, 480, thumbnail=samples.jpeg(160, 120))
"""A photo as cameras make it."""
NAMES = ["large", "medium", "small", "thumb"]
QUEUE = {"queue_size": 8, "brownout_high": 0.75, "brownout_low": 0.25}


@contextmanager
def browned_out(
    service: Service, photo: bytes = PHOTO, **fields: str
) -> Iterator[tuple[httpx.Response, list[Any]]]:
    """A photo that is done but for its deferred variants, its worker suspended before it gets to them.

    Gives the answer to its upload, which preferred to wait, and the documents of those queued behind it.
    """
    with ThreadPoolExecutor(1) as thread:
        with service.paused():
            waiting = thread.submit(service.upload, photo, prefer="wait=25", **fields)
            until(lambda: service.stats()["backlog"]["waiting"] == 1, "the photo to be queued")
            behind = [service.upload(SLOW).json() for _ in range(5)]
            assert service.stats()["brownout"]["active"]
        answer = waiting.result()
    with stopped(service.workers()):
        yield answer, behind


def deferred_begun(service: Service) -> int:
    """The process that makes the first deferred variants, once nothing else is left to do."""

    def found() -> int | None:
        jobs = service.stats()["jobs"]
        forks = children(service.workers()[0])
        return forks[0] if forks and jobs["done"] == jobs["accepted"] else None

    return int(until(found, "deferred variants to be begun"))


def replace_behind(service: Service, job_id: str) -> None:
    """Put a true variant in the place of the provisional one, in the store alone."""
    (folder,) = service.store.glob(f"images/*/{job_id}")
    record = json.loads((folder / "job.json").read_bytes())
    (folder / "thumb.provisional.jpg").unlink()
    (folder / "thumb.jpg").write_bytes(PHOTO)
    digest = hashlib.sha256(PHOTO).hexdigest()
    record["made"]["thumb"] |= {
        "file": "thumb.jpg",
        "size": len(PHOTO),
        "digest": digest,
        "provisional": False,
    }
    (folder / "job.json").write_bytes(json.dumps(record).encode())


def delete(service: Service, document: Any) -> int:
    """Delete an image; the status of the answer."""
    fields = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        return client.delete(document["links"]["self"], headers=fields).status_code


def completed(service: Service, document: Any) -> Any:
    """The document of a job, once every variant is made; all are served."""

    def made() -> Any:
        now = service.get(document["links"]["self"]).json()
        return now if now["status"] == "done" and not now["deferred"] else None

    final = until(made, "every variant to be made")
    assert list(final["variants"]) == NAMES
    for variant in final["variants"].values():
        assert "provisional" not in variant
        answer = service.get(variant["url"])
        assert (answer.status, len(answer.body)) == (200, variant["bytes"])
    return final


def test_begins_at_the_high_mark_and_ends_at_the_low_one(start: Start) -> None:
    """Six waiting of eight begin it, it lasts until two wait, and all deferred variants are made at last."""
    service = start(**QUEUE, deferred_size=500)
    with service.paused():
        queued = [service.upload(PHOTO).json() for _ in range(5)]
        assert service.stats()["brownout"] == {"active": False, "begun": 0, "deferred": 0, "capacity": 500}
        queued += [service.upload(PHOTO).json() for _ in range(2)]
        assert service.stats()["brownout"] == {"active": True, "begun": 1, "deferred": 0, "capacity": 500}
    for document in queued:
        completed(service, document)
    stats = service.settled()
    assert stats["brownout"] == {"active": False, "begun": 1, "deferred": 0, "capacity": 500}
    # Taken while 7, 6, 5, 4 and 3 waited; with two left it was over.
    assert stats["jobs"]["deferred"] == 5
    assert stats["jobs"]["done"] == stats["jobs"]["accepted"] == 8
    metrics = service.get("/metrics").body.decode()
    assert 'spillway_jobs_total{outcome="deferred"} 5.0' in metrics
    assert "spillway_brownouts_total 1.0" in metrics
    assert "spillway_brownout_active 0.0" in metrics
    assert "spillway_deferred_jobs 0.0" in metrics
    assert not [name for name in service.stored() if "source" in name]


def test_a_job_is_done_with_its_most_needed_variant(start: Start) -> None:
    """The smallest is served at once; the others are announced and come one by one; then the job is final."""
    service = start(**QUEUE)
    with browned_out(service) as (answer, _), service.client() as client:
        assert answer.status_code == 201
        document = answer.json()
        assert (document["status"], list(document["variants"])) == ("done", ["thumb"])
        assert document["deferred"] == ["large", "medium", "small"]
        assert (document["finished_at"] is None, document["completed_at"]) == (False, None)
        assert document["source"]["width"] == 640
        thumb = client.get(document["variants"]["thumb"]["url"])
        assert (thumb.status_code, len(thumb.content)) == (200, document["variants"]["thumb"]["bytes"])
        assert thumb.headers["cache-control"] == "public, max-age=86400, immutable"
        later = client.get(f"{document['links']['self']}/large")
        problem(later, 404, "not-ready")
        assert int(later.headers["retry-after"]) >= 1
        problem(client.get(f"{document['links']['self']}/huge"), 404, "not-found")
        long_poll = client.get(document["links"]["self"], headers={"prefer": "wait=20"})
        assert long_poll.json()["deferred"] == document["deferred"]
        connection = service.connect()
        events = open_stream(connection, document["links"]["events"])
        now = next(events)
        assert (now.name, now.data["deferred"]) == ("done", document["deferred"])
    with connection:
        rest = list(events)
    assert [event.name for event in rest] == ["variant"] * 3
    assert rest[-1].data["deferred"] == []
    assert rest[-1].data["finished_at"] == document["finished_at"] < rest[-1].data["completed_at"]
    assert rest[-1].data == completed(service, document)
    with service.client() as client:
        fields = {"last-event-id": rest[-1].id or ""}
        assert client.get(document["links"]["events"], headers=fields).status_code == 204
        fields = {"last-event-id": now.id or ""}
        assert client.get(document["links"]["events"], headers=fields).status_code == 200


def test_its_own_thumbnail_stands_in_for_the_smallest_variant(start: Start) -> None:
    """It is marked, kept by caches for a minute, and replaced by the true one when the others are made."""
    service = start(**QUEUE)
    key = {"idempotency-key": '"photo"', "address": fresh_address()}
    with browned_out(service, OWN_THUMBNAIL, **key) as (answer, _), service.client() as client:
        document = answer.json()
        assert (document["status"], document["deferred"]) == ("done", NAMES)
        thumb = document["variants"]["thumb"]
        assert (thumb["provisional"], thumb["width"], thumb["height"]) == (True, 96, 72)
        shown = client.get(thumb["url"])
        assert (shown.status_code, len(shown.content)) == (200, thumb["bytes"])
        assert shown.headers["cache-control"] == "public, max-age=60"
        assert shown.headers["etag"] == f'"{thumb["sha256"]}"'
        same = {"if-none-match": shown.headers["etag"]}
        assert client.get(thumb["url"], headers=same).status_code == 304
        repeat = service.upload(OWN_THUMBNAIL, **key).json()
        assert {**repeat, "delete_token": ""} == {**document, "delete_token": ""}
        connection = service.connect()
        events = open_stream(connection, document["links"]["events"])
        assert next(events).data["variants"] == {"thumb": thumb}
        assert service.stats()["jobs"]["provisional"] == 1
        metrics = service.get("/metrics").body.decode()
        assert 'spillway_jobs_total{outcome="provisional"} 1.0' in metrics
        replace_behind(service, document["id"])
        true = client.get(thumb["url"])
        assert (true.status_code, true.content) == (200, PHOTO)
        assert true.headers["cache-control"].endswith("immutable")
    with connection:
        rest = list(events)
    assert (rest[-1].data["deferred"], "provisional" in rest[-1].data["variants"]["thumb"]) == ([], False)
    assert rest[-1].data["finished_at"] == document["finished_at"] < rest[-1].data["completed_at"]
    assert rest[-1].data == completed(service, document)
    with service.client() as client:
        true = client.get(thumb["url"], headers=same)
        assert (true.status_code, true.headers["cache-control"][-9:]) == (200, "immutable")
    assert not [name for name in service.stored() if "provisional" in name]


@pytest.mark.parametrize("how", ["kill -9", "drain"])
def test_deferred_variants_outlive_the_service(start: Start, how: str) -> None:
    """After kill -9 of everything, or a drain that could not wait, the next start makes all of it."""
    service = start(**QUEUE, drain_timeout=0.5)
    with browned_out(service, OWN_THUMBNAIL) as (answer, behind):
        assert answer.json()["deferred"]
        if how == "kill -9":
            service.kill()
        else:
            assert service.stop() == 0
    service.start()
    for document in (answer.json(), *behind):
        completed(service, document)
    stats = service.settled()
    assert stats["jobs"]["failed"] == 0
    assert not [name for name in service.stored() if "source" in name or not name.startswith("images/")]


def test_deleted_while_it_waits_in_the_deferred_queue(start: Start) -> None:
    """Every file is removed, watchers are told, and nothing more is made of it."""
    service = start(**QUEUE)
    with browned_out(service) as (answer, _), service.client() as client:
        document = answer.json()
        before = service.stats()
        with service.connect() as connection:
            events = open_stream(connection, document["links"]["events"])
            assert next(events).name == "done"
            assert delete(service, document) == 204
            (last,) = events
            assert (last.name, last.data["status"]) == ("cancelled", "cancelled")
        for path in (document["links"]["self"], document["variants"]["thumb"]["url"]):
            assert client.get(path).status_code == 404
        after = service.stats()
        assert after["brownout"]["deferred"] == before["brownout"]["deferred"] - 1
        assert not [name for name in service.stored() if document["id"] in name]
    stats = service.settled()
    assert stats["jobs"]["done"] == stats["jobs"]["accepted"]


def test_deleted_while_its_deferred_variants_are_made(start: Start) -> None:
    """The work is stopped, and every file is removed."""
    service = start(**QUEUE)
    with browned_out(service, SLOW) as (answer, _):
        document = answer.json()
    deferred_begun(service)
    assert delete(service, document) == 204
    assert service.get(document["links"]["self"]).status == 404
    stats = service.settled()
    assert stats["brownout"]["deferred"] == 0
    assert not [name for name in service.stored() if document["id"] in name]


def test_deferred_variants_whose_process_dies_are_tried_once_more(start: Start) -> None:
    """They have two tries like any job, and then every variant is there."""
    service = start(**QUEUE)
    with browned_out(service, samples.png(4000, 3000, compress_level=1)) as (answer, _):
        pass
    os.kill(deferred_begun(service), signal.SIGKILL)
    assert "problem" not in completed(service, answer.json())


def test_deferred_variants_may_fail(start: Start) -> None:
    """The job stays done with what was made, nothing is deferred any more, and the document says why."""
    service = start(**QUEUE, worker_memory="24MiB", variants="full=4000,thumb=96")
    photo = samples.jpeg(4000, 3000)
    with service.paused():
        queued = [service.upload(photo).json() for _ in range(6)]
        connection = service.connect()
        events = open_stream(connection, queued[0]["links"]["events"])
    with connection:
        last = list(events)[-1]
    assert (last.name, last.data["status"], last.data["deferred"]) == ("done", "done", [])
    assert list(last.data["variants"]) == ["thumb"]
    assert last.data["problem"]["type"] == "/problems/too-much-memory"
    with service.client() as client:
        assert client.get(last.data["variants"]["thumb"]["url"]).status_code == 200
        problem(client.get(f"{last.data['links']['self']}/full"), 404, "not-found")
    stats = service.settled()
    assert stats["jobs"]["done"] == stats["jobs"]["deferred"] + 1
    assert stats["jobs"]["failed"] == 2  # those of which all variants were made at once
