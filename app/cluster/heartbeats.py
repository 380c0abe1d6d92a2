"""Heartbeats: every process of the cluster tells the others once a second what it is and what it does.

They are plain NATS messages that no stream keeps.
"""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.cluster.connection import UNAVAILABLE, NatsConnection
from app.engine.worker_pool import WorkerSnapshot, WorkerState

log = structlog.get_logger(__name__)

HEARTBEAT_INTERVAL_S = 1.0
_SUBJECT = "spillway.beats"
_SILENCE_TIMEOUT_S = 5.0
"""Seconds without a heartbeat after which a process counts as gone."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process says of itself: whether it takes uploads, how many jobs it does at once, its workers."""

    serves: bool
    max_jobs: int
    workers: tuple[WorkerSnapshot, ...]
    sandbox: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The heartbeat as it is sent."""
        return {
            "serves": self.serves,
            "hands": self.max_jobs,
            "workers": [asdict(worker) for worker in self.workers],
            "sandbox": self.sandbox,
        }

    @classmethod
    def from_dict(cls, data: Any) -> "Heartbeat":
        """Read a heartbeat. Raises AttributeError, KeyError, TypeError or ValueError for anything else."""
        workers = tuple(
            WorkerSnapshot(WorkerState(w["state"]), int(w["busy_ms"]), int(w["jobs"]), int(w["restarts"]))
            for w in data["workers"]
        )
        sandbox = {str(name): str(state) for name, state in data["sandbox"].items()}
        return cls(bool(data["serves"]), int(data["hands"]), workers, sandbox)


class Heartbeats:
    """Sends the heartbeats of this process and remembers the latest one of every process."""

    def __init__(self, connection: NatsConnection, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._connection = connection
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._latest: dict[str, tuple[float, Heartbeat]] = {}

    async def listen(self) -> None:
        """Receive the heartbeats of all processes, this one included."""
        await self._connection.client.subscribe(_SUBJECT, cb=self._receive)

    async def send(self, heartbeat: Heartbeat) -> None:
        """Send a heartbeat. While NATS is away it is lost."""
        with suppress(NatsError, OSError, *UNAVAILABLE):
            data = json.dumps({"name": self._name, **heartbeat.to_dict()}).encode()
            await self._connection.client.publish(_SUBJECT, data)

    async def _receive(self, message: Msg) -> None:
        try:
            data = json.loads(message.data)
            self._latest[str(data["name"])] = (self._clock(), Heartbeat.from_dict(data))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("unreadable heartbeat", reason=repr(error))

    def recent(self) -> list[Heartbeat]:
        """The latest heartbeat of each process that was heard of within the last seconds."""
        oldest = self._clock() - _SILENCE_TIMEOUT_S
        self._latest = {name: (at, beat) for name, (at, beat) in self._latest.items() if at > oldest}
        return [beat for _, beat in self._latest.values()]
