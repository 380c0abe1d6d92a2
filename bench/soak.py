"""Kill the service many times while clients upload and delete; then look for what is missing.

Clients send each photo under an Idempotency-Key until it is acknowledged. Each kill comes at a random moment
and hits the server alone or all of its processes. At the end every acknowledged upload must be there, done
once, with every variant, and nothing else may be there. After that the service is killed at each single step
that touches the store, each time in a new store, and the same is checked.
"""

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import samples
from tests.service import Service, children, free_port
from tests.system.faults.lives import Witness, live, lives, steps

_SENDERS = 4
_PAUSE_S = 0.05
_PROGRESS = 20
DOUBLED = ("done twice", "job of two uploads", "nobody was told")
PHOTOS = [samples.jpeg(320 + 8 * n, 240) for n in range(4)]
VARIANTS = {"large", "medium", "small", "thumb"}
SETTINGS: dict[str, object] = {
    "rate": 100_000,
    "burst": 100_000,
    "client_share": 1000,
    "queue_size": 60,
    "brownout_high": 0.5,
    "brownout_low": 0.1,
    "workers": 2,
}


@dataclass(slots=True)
class Told:
    """What clients were answered, by which the store is judged at the end."""

    kept: dict[str, Any] = field(default_factory=dict)
    """Documents of acknowledged uploads by id, but for those that a client asked to delete."""
    deleted: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many uploads were acknowledged."""
        return len(self.kept) + len(self.deleted | self.unsure)


class Sender(threading.Thread):
    """One client: sends each photo until it is acknowledged, then the next."""

    def __init__(self, number: int, url: str, told: Told, over: threading.Event) -> None:
        super().__init__(name=f"sender {number}", daemon=True)
        transport = httpx.HTTPTransport(local_address=f"127.0.1.{number + 1}")
        self._client = httpx.Client(base_url=url, transport=transport, timeout=10)
        self._number = number
        self._told = told
        self._over = over
        self._random = random.Random(number)  # noqa: S311 - it chooses photos
        self._sent = 0

    def run(self) -> None:
        """Send photos until `over` is set; the upload that was begun then is still finished."""
        while not self._over.is_set():
            self._sent += 1
            document = self._upload(f'"{self._number}-{self._sent}"', self._random.choice(PHOTOS))
            if document["id"] in self._told.kept:
                self._told.wrong.append(f"{document['id']} is the job of two uploads")
            self._told.kept[document["id"]] = document
            if self._random.random() < 0.1:
                self._remove(self._random.choice(list(self._told.kept)))
            self._look(self._random.choice(list(self._told.kept)))

    def _upload(self, key: str, photo: bytes) -> Any:
        fields = {"content-type": "image/jpeg", "idempotency-key": key}
        if self._random.random() < 0.2:
            fields["prefer"] = "wait=5"
        while True:
            with suppress(httpx.TransportError):
                answer = self._client.post("/v1/images", content=photo, headers=fields)
                self._told.answers[str(answer.status_code)] += 1
                if answer.status_code in (201, 202):
                    return answer.json()
                if answer.status_code not in (409, 429, 503):
                    self._told.wrong.append(f"{answer.status_code} to an upload: {answer.text}")
            time.sleep(_PAUSE_S)

    def _remove(self, job_id: str) -> None:
        document = self._told.kept.pop(job_id, None)
        if document is None:  # another sender's choice too
            return
        self._told.unsure.add(job_id)
        fields = {"authorization": f"Bearer {document['delete_token']}"}
        with suppress(httpx.TransportError):
            if self._client.delete(document["links"]["self"], headers=fields).status_code == 204:
                self._told.deleted.add(job_id)

    def _look(self, job_id: str) -> None:
        """Note when a job was first seen to be finished, since that must not change."""
        with suppress(httpx.TransportError):
            document = self._client.get(f"/v1/images/{job_id}").json()
            if document["status"] == "done" and not document["deferred"]:
                self._told.ended.setdefault(job_id, document["completed_at"])


def _kill(service: Service, *, all_of_it: bool) -> None:
    """Kill the server by SIGKILL, and with `all_of_it` its workers and their forks too."""
    family = [service.pid]
    if all_of_it:
        workers = children(service.pid)
        family += [*workers, *(fork for worker in workers for fork in children(worker))]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.kill()


def soak(folder: Path, kills: int, seed: int) -> Told:
    """Kill the service `kills` times under load, then check every upload."""
    chance = random.Random(seed)  # noqa: S311 - it chooses moments
    told, over = Told(), threading.Event()
    service = Service(folder, port=free_port(), **SETTINGS)
    senders = [Sender(number, service.url, told, over) for number in range(_SENDERS)]
    for sender in senders:
        sender.start()
    began = time.monotonic()
    try:
        for count in range(1, kills + 1):
            time.sleep(chance.uniform(0, 1.5))
            _kill(service, all_of_it=count % 2 == 0)
            service.start()
            if count % _PROGRESS == 0:
                seconds = time.monotonic() - began
                print(f"{count} kills in {seconds:.0f} s, {told.acknowledged} acknowledged", flush=True)
        over.set()
        for sender in senders:
            sender.join()
        _look_at_everything(service, told)
    finally:
        over.set()
        service.kill()
    return told


def _look_at_everything(service: Service, told: Told) -> None:
    for job_id in told.kept:
        service.ended(job_id)
    service.settled()
    with service.client() as client:
        for job_id in told.kept:
            told.wrong += [f"{job_id}: {fault}" for fault in faults(client, job_id, told)]
        for job_id in told.unsure - told.deleted:  # may be there or not
            if client.get(f"/v1/images/{job_id}").status_code != 404:
                told.wrong += [f"{job_id}: {fault}" for fault in faults(client, job_id, told)]
        for job_id in told.deleted:
            if client.get(f"/v1/images/{job_id}").status_code != 404:
                told.wrong.append(f"{job_id} was deleted and is there")
    files = [service.store / name for name in service.stored()]
    there = {path.parent.name for path in files if path.parent.parent.parent.name == "images"}
    for job_id in there - told.kept.keys() - told.unsure:
        told.wrong.append(f"{job_id} is there, and nobody was told of it")
    told.wrong += [f"{path} is left" for path in files if "images" not in path.parts]
    used = sum(path.stat().st_size for path in files if path.name != "job.json")
    if service.stats()["store_bytes"] != used:
        told.wrong.append(f"{service.stats()['store_bytes']} bytes are counted, {used} are there")


def faults(client: httpx.Client, job_id: str, told: Told) -> list[str]:
    """What is wrong with an acknowledged job that has ended; an empty list if nothing is."""
    document = client.get(f"/v1/images/{job_id}").json()
    if document["status"] != "done" or set(document["variants"]) != VARIANTS or document["deferred"]:
        return [f"lost: {document}"]
    found = []
    if told.ended.get(job_id, document["completed_at"]) != document["completed_at"]:
        found.append("done twice")
    for variant in document["variants"].values():
        image = client.get(variant["url"])
        if f'"{hashlib.sha256(image.content).hexdigest()}"' != image.headers.get("etag"):
            found.append(f"{variant['url']} is not what was made: {image.status_code}")
    return found


def step_by_step(folder: Path) -> tuple[int, int]:
    """Kill the service at each step, in a new store each time, and check what a restart makes of it.

    Returns the number of steps and of acknowledged uploads.
    """
    found = steps(folder / "whole")
    acknowledged = 0
    for number, step in enumerate(found):
        witness = Witness()
        with lives(folder / str(number)) as life:
            if live(life, witness, step) != -signal.SIGKILL:  # the step comes only after a regular end
                assert live(life, witness, step) == -signal.SIGKILL, step
            witness.check_store(life.store)
            life.begin()
            witness.check_service(life)
            assert life.end() == 0
        acknowledged += len(witness.jobs)
    return len(found), acknowledged


def main() -> int:
    """Run as the arguments say. Returns 1 when an upload was lost or done twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="make soak"
    )
    parser.add_argument("kills", type=int, nargs="?", default=200, help="SIGKILLs under load (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--no-steps", action="store_true", help="leave out the death at every step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spillway-soak-") as name:
        told = soak(Path(name), options.kills, options.seed)
        lost = sum("lost" in fault for fault in told.wrong)
        doubled = sum(any(word in fault for word in DOUBLED) for fault in told.wrong)
        print(
            f"\n{options.kills} kills: {told.acknowledged} acknowledged, {len(told.unsure)} of them to be "
            f"deleted; of the other {len(told.kept)} kept {len(told.kept) - lost}; doubled {doubled}"
        )
        print(f"answers to uploads: {dict(sorted(told.answers.items()))}")
        for fault in told.wrong:
            print(fault)
        if not options.no_steps:
            count, acknowledged = step_by_step(Path(name))
            print(f"{count} steps, a death at each: {acknowledged} acknowledged, all kept")
    return bool(told.wrong)


if __name__ == "__main__":
    sys.exit(main())
