"""Variants that are made later of an upload that is kept, in a cluster."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Cluster, StartWorker
from tests.cluster.streams import queued, set_ack_wait
from tests.service import SMALL, Service, serving, until


def more(service: Service, document: dict[str, Any], path: str = "variants", method: str = "POST") -> Any:
    """Ask as the owner of an image, by default for all variants."""
    headers = {"authorization": f"Bearer {document['delete_token']}"}
    with service.client() as client:
        return client.request(method, f"{document['links']['self']}/{path}", headers=headers)


def test_they_are_made_by_any_worker_and_known_everywhere(
    cluster: Cluster, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Right after the first were, also when the worker that began with them has died."""
    settings = {**cluster.settings, "variants": "thumb=96,small=48", "keep_original": "true", "workers": 0}
    with serving(tmp_path, **settings) as keeping, keeping.client() as client:
        worker = start_worker()
        fields = {"content-type": "image/jpeg", "prefer": "wait=20"}
        document = client.post("/v1/images?variants=thumb", content=SMALL, headers=fields).json()
        assert (document["status"], set(document["variants"])) == ("done", {"thumb"})
        os.kill(worker.child, signal.SIGSTOP)
        assert more(keeping, document).json()["deferred"] == ["small"]
        until(lambda: queued(cluster.nats.url) == 1, "the job to be in the queue again")
        until(
            lambda: cluster.there.get(document["links"]["self"]).json()["deferred"] == ["small"],
            "another replica to know of it",
        )
        worker.kill()
        start_worker()
        set_ack_wait(cluster.nats.url, 1)
        for service in (keeping, cluster.here, cluster.there):
            until(
                lambda: service.get(document["links"]["self"]).json()["completed_at"],  # noqa: B023
                "the end to be known",
            )
            after = service.get(document["links"]["self"]).json()
            assert (set(after["variants"]), after["deferred"]) == ({"thumb", "small"}, [])
            assert after["variants"]["thumb"] == document["variants"]["thumb"]
        until(lambda: queued(cluster.nats.url) == 0, "an empty queue")
        assert more(cluster.here, document, "original", "GET").content == SMALL
        stats = keeping.stats()["jobs"]
        assert (stats["accepted"], stats["done"], stats["failed"]) == (2, 2, 0)
