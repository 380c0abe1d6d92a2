"""The service is killed at every step between an outcome, its webhook and the end of that."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.webhooks.events import Event
from tests.service import Service, until
from tests.system.faults.lives import BROKEN, CLIENT, SMALL, Died, Life, lives
from tests.webhooks.receiver import SECRET, Receiver, receiving

EVENTS = "image.done,image.failed,image.deleted"
ORDER = """
rename outbox/msg_ID.new (image.failed) to outbox/msg_ID (image.failed)
fsync outbox
rename images/AB/ID/job.json.new (failed) to images/AB/ID/job.json
rename outbox/msg_ID.new (image.done) to outbox/msg_ID (image.done)
rename images/AB/ID/job.json.new (done) to images/AB/ID/job.json
unlink outbox/msg_ID (image.done)
rename outbox/msg_ID.new (image.deleted) to outbox/msg_ID (image.deleted)
rename images/AB/ID to work/gone
unlink outbox/msg_ID (image.deleted)
"""
"""An event is kept before it is true, and forgotten after it was delivered."""


class Owner:
    """A client that knows what it was told, and with it what has to be told by webhooks."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.expected: dict[str, set[str]] = {}
        self.unsure: set[str] = set()
        """Jobs whose deletion was asked for and not answered."""

    def act(self, service: Service) -> None:
        """Upload a photo, something broken, and remove the photo once it was told. Raises TransportError."""
        with service.client(CLIENT) as client:
            broken = self._upload(client, BROKEN)
            photo = self._upload(client, SMALL)
            self.expected[broken["id"]] = {"image.failed"}
            self.expected[photo["id"]] = {"image.done"}
            self._await(client, broken, photo)
            self.unsure.add(photo["id"])
            fields = {"authorization": f"Bearer {photo['delete_token']}"}
            assert client.delete(photo["links"]["self"], headers=fields).status_code == 204
            self.unsure.discard(photo["id"])
            self.expected[photo["id"]].add("image.deleted")
            self._await(client, photo)

    def _upload(self, client: httpx.Client, data: bytes) -> Any:
        answer = client.post("/v1/images", content=data, headers={"content-type": "image/jpeg"})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def _await(self, client: httpx.Client, *documents: Any) -> None:
        """Wait until the events of some jobs have come. Raises TransportError when the service dies."""

        def have_come() -> bool:
            assert client.get("/healthz").status_code == 200
            return all(self.is_told(document["id"]) for document in documents)

        until(have_come, "the webhooks", show=lambda: (documents, self.receiver.received))

    def is_told(self, job_id: str) -> bool:
        """Whether everything was told that has to be, of a job."""
        return self.expected[job_id] <= set(self.receiver.types_of(job_id))

    def check(self) -> None:
        """Nothing is lost, nothing is invented, and each event has one id however often it came."""
        for job_id, expected in self.expected.items():
            told = self.receiver.of(job_id)
            maybe = {"image.deleted"} if job_id in self.unsure else set()
            assert expected <= {each.type for each in told} <= expected | maybe
            assert len({each.id for each in told}) == len({each.type for each in told})
            for each in told:
                assert each.verified()


def live(life: Life, owner: Owner, last: str = "") -> int:
    """Run once, killed at the step `last`. Returns the exit status."""
    try:
        life.begin(last)
        owner.act(life)
    except Died as death:
        return int(death.args[0])
    except httpx.TransportError:
        return life.status()
    return life.end()


def is_between(step: str) -> bool:
    """Whether a step touches the outbox, or makes an event true. The first ones are alike for all events."""
    if step.startswith(("create outbox", "write outbox", "fsync outbox/")):
        return "image.done" in step
    made_true = ("rename images/AB/ID to work/gone", "rename images/AB/ID/job.json.new (")
    return "outbox" in step or step.startswith(made_true)


@pytest.mark.timeout(300)
def test_no_webhook_is_lost_whenever_it_dies(tmp_path: Path) -> None:
    """One run for each step that touches the outbox, each on the store that the one before left."""
    with receiving() as receiver:
        settings = {"webhook_url": receiver.url, "webhook_secret": SECRET, "webhook_events": EVENTS}
        with lives(tmp_path / "whole", **settings) as life:
            assert live(life, Owner(receiver)) == 0, life.errors()
            found = life.passed()
        expected = ORDER.strip().splitlines()
        assert [step for step in found if step in expected] == expected
        chosen = [step for step in found if is_between(step)]
        assert len(chosen) > 12
        owner = Owner(receiver)
        with lives(tmp_path / "killed", **settings) as life:
            for step in chosen:
                assert live(life, owner, step) in (0, -9), life.errors()
            assert live(life, owner) == 0
            left = [
                Event.from_bytes(path.read_bytes()) for path in (life.store / "outbox").glob("msg_*[0-9a-f]")
            ]
        owner.check()
        assert {event.job_id for event in left} <= owner.unsure  # told if that is true within a minute
        # A life may die of what the one before left, before it has taken an upload.
        assert len(owner.expected) > len(chosen) / 2
