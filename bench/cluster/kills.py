"""Kills and stops workers, replicas and NATS servers under load, then checks that nothing was lost."""

import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx
from nats.errors import Error as NatsError

from app.job import Job
from bench.cluster.machines import Machines
from bench.soak import DOUBLED, Sender, Told, faults
from tests.cluster.streams import queued

_SENDERS = 6
_PROGRESS = 12
_SETTLE_S = 240.0
"""Seconds for all jobs to end: that of a dead worker starts again after 15, a lost one is found after 60."""
_PAUSE_S = (17.0, 25.0)
"""Seconds for which a worker is paused: longer than its lease of 15 s."""
_STALLS = (3, 6)
"""Stalls of NATS in a row."""
_TRY_S = 0.25
_TRIES = 30


class _Replicas(httpx.BaseTransport):
    """Sends each request to a random replica."""

    def __init__(self, urls: Sequence[str], address: str) -> None:
        self._ports = [int(url.rpartition(":")[2]) for url in urls]
        self._transport = httpx.HTTPTransport(local_address=address)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=random.choice(self._ports))  # noqa: S311 - spreads load
        return self._transport.handle_request(request)


class _RetryingReplicas(_Replicas):
    """Sends each request to a random replica, and again while the answer is 503."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        for _ in range(_TRIES):
            if response.status_code != 503:
                break
            response.close()
            time.sleep(int(response.headers["retry-after"]))
            response = super().handle_request(request)
        return response


class Roamer(Sender):
    """A client that uses all replicas."""

    def __init__(self, number: int, urls: Sequence[str], told: Told, over: threading.Event) -> None:
        super().__init__(number, urls[0], told, over)
        transport = _Replicas(urls, f"127.0.1.{number + 1}")
        self._client = httpx.Client(base_url=urls[0], transport=transport, timeout=10)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many faults there are, and which shares of them are pauses and stalls; the others are kills."""

    faults: int
    pauses: float
    stalls: float

    def shuffled(self, rng: random.Random) -> list[str]:
        """The kinds of all faults in a random order."""
        pauses, stalls = round(self.faults * self.pauses), round(self.faults * self.stalls)
        kinds = ["pause"] * pauses + ["stall"] * stalls
        kinds += ["kill"] * (self.faults - len(kinds))
        rng.shuffle(kinds)
        return kinds

    def __str__(self) -> str:
        kinds = self.shuffled(random.Random(0))  # noqa: S311 - the order does not matter here
        return ", ".join(f"{kinds.count(kind)} {kind}s" for kind in ("kill", "pause", "stall"))


def run(machines: Machines, plan: Plan, seed: int) -> Told:
    """Bring about faults under load, wait until all jobs have ended, then check every upload."""
    rng = random.Random(seed)  # noqa: S311 - chooses times
    told, over = Told(), threading.Event()
    urls = [replica.url for replica in machines.replicas]
    senders = [Roamer(number, urls, told, over) for number in range(_SENDERS)]
    for sender in senders:
        sender.start()
    began = time.monotonic()
    try:
        for count, kind in enumerate(plan.shuffled(rng)):
            time.sleep(rng.uniform(0, 1.5))
            if kind == "pause":
                machines.pause_worker(rng.randrange(len(machines.workers)), rng.uniform(*_PAUSE_S))
            elif kind == "stall":
                machines.stall_nats([rng.uniform(0, 0.5) for _ in range(rng.randint(*_STALLS))])
            else:
                _kill(machines, count, rng)
            if (count + 1) % _PROGRESS == 0:
                seconds = time.monotonic() - began
                print(f"{count + 1} faults in {seconds:.0f} s, {told.acknowledged} acknowledged", flush=True)
        machines.resumed()
    finally:
        over.set()
    for sender in senders:
        sender.join()
    _settle(machines, told)
    _check(machines, told)
    return told


def _kill(machines: Machines, count: int, rng: random.Random) -> None:
    """Kill a worker, a replica or a NATS server, by turns."""
    kill, count_of_kind = (
        (machines.kill_worker, len(machines.workers)),
        (machines.kill_replica, len(machines.replicas)),
        (machines.kill_nats, len(machines.nats_servers)),
    )[count % 3]
    kill(rng.randrange(count_of_kind), rng.uniform(0, 1.0))


def _settle(machines: Machines, told: Told) -> None:
    """Wait until every acknowledged job has ended, for at most `_SETTLE_S` seconds."""
    began = time.monotonic()
    with httpx.Client(
        transport=_Replicas([r.url for r in machines.replicas], "127.0.1.99"), timeout=30
    ) as client:
        for job_id in list(told.kept):
            while time.monotonic() - began < _SETTLE_S:
                with suppress(httpx.TransportError, ValueError):
                    answer = client.get(
                        f"{machines.replicas[0].url}/v1/images/{job_id}", headers={"prefer": "wait=5"}
                    )
                    if answer.status_code == 404 or answer.json().get("status") in ("done", "failed"):
                        break
                time.sleep(_TRY_S)
    while time.monotonic() - began < _SETTLE_S:
        with suppress(NatsError, OSError):  # NATS may be electing a leader
            if not queued(machines.nats_servers[0].url):
                break
        time.sleep(_TRY_S)
    print(f"all ended {time.monotonic() - began:.0f} s after the last upload", file=sys.stderr)


def _check(machines: Machines, told: Told) -> None:
    urls = [replica.url for replica in machines.replicas]
    with httpx.Client(
        base_url=urls[0], transport=_RetryingReplicas(urls, "127.0.1.98"), timeout=30
    ) as client:
        for job_id in told.kept:
            told.wrong += [f"{job_id}: {fault}" for fault in faults(client, job_id, told)]
        for job_id in told.deleted:
            answer = client.get(f"/v1/images/{job_id}")
            if answer.status_code != 404:
                told.wrong.append(f"{job_id} was deleted and is there: {answer.text}")
    if left := queued(machines.nats_servers[0].url):
        told.wrong.append(f"{left} jobs are left in the queue")
    names = machines.names("photos/records/")
    there = {name.removesuffix(".json") for name in names}
    for job_id in there - told.kept.keys() - told.unsure:
        told.wrong.append(f"{job_id} is there, and nobody was told of it")
    for name in machines.names("photos/sources/"):
        job_id, _, upload = name.partition("/")
        # A replica that died before it had written a record leaves a source for the sweep, an hour later.
        if (
            job_id in told.kept
            and Job.from_record(machines.read(f"photos/records/{job_id}.json")).upload == upload
        ):
            told.wrong.append(f"source {name} is left")


def summary(told: Told, plan: Plan) -> str:
    """The result of a run in one line."""
    lost = sum("lost" in fault for fault in told.wrong)
    doubled = sum(any(word in fault for word in DOUBLED) for fault in told.wrong)
    return (
        f"{plan}: {told.acknowledged} acknowledged, {len(told.unsure)} of them to be deleted; "
        f"of the other {len(told.kept)} kept {len(told.kept) - lost}; doubled {doubled}"
    )
