"""The bulletin: tells every replica what becomes of each job, and who works and who serves in the cluster.

Records are posted in a key-value bucket, so that a replica that comes later hears of what is under way; the
record in the store stays the one truth. Beats are told to whoever listens, and kept nowhere.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from app.cluster import jetstream
from app.cluster.connection import UNAVAILABLE, NatsConnection
from app.engine.worker_pool import WorkerSnapshot
from app.job import Job

log = structlog.get_logger(__name__)

_BEATS = "spillway.beats"
_FORGOTTEN = 5.0
"""Seconds of silence after which a process is taken to be gone."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a process tells of itself: whether it serves, how many jobs it takes at once, its workers."""

    serves: bool
    hands: int
    workers: tuple[WorkerSnapshot, ...]
    sandbox: dict[str, str]


class JobStatusStore:
    """Posts, and listens to what others post."""

    def __init__(self, connection: NatsConnection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._table: KeyValue | None = None
        self._watcher: KeyValue.KeyWatcher | None = None
        self._reader: asyncio.Task[None] | None = None
        self._heard: dict[str, tuple[float, Heartbeat]] = {}

    async def prepare(self) -> None:
        """Have the bucket there. Raises EngineDown, BreakerOpen."""
        self._table = await jetstream.statuses(self._connection)

    async def put(self, job: Job) -> None:
        """Tell what a job is now. Raises EngineDown, BreakerOpen."""
        assert self._table is not None  # noqa: S101 - `prepare` comes first
        async with self._connection.request(2.0):
            await self._table.put(job.id, job.to_record())

    async def read(self, job_id: str) -> Job | None:
        """What was told last of a job. Raises EngineDown, BreakerOpen."""
        assert self._table is not None  # noqa: S101 - `prepare` comes first
        try:
            async with self._connection.request(2.0):
                entry = await self._table.get(job_id)
            return Job.from_record(entry.value or b"")
        except (KeyNotFoundError, ValueError):
            return None

    async def watch(self, hear: Callable[[Job], None]) -> None:
        """Have `hear` called with the last record of each job and every later one, until watched anew."""
        assert self._table is not None  # noqa: S101 - `prepare` comes first
        await self.close()
        async with self._connection.request(5.0):
            self._watcher = await self._table.watchall()
        self._reader = asyncio.create_task(self._read(self._watcher, hear), name="bulletin")

    async def _read(self, watcher: KeyValue.KeyWatcher, hear: Callable[[Job], None]) -> None:
        async for entry in watcher:
            if entry is None or not entry.value:
                continue
            try:
                job = Job.from_record(entry.value)
            except ValueError:
                log.warning("a status that cannot be read", key=entry.key)
                continue
            if job.id == entry.key:
                hear(job)

    async def close(self) -> None:
        """Listen no more."""
        if self._reader is not None:
            self._reader.cancel()
        if self._watcher is not None:
            with suppress(NatsError, OSError):
                await self._watcher.stop()  # type: ignore[no-untyped-call]
        self._reader = self._watcher = None

    # --- who is there ----------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Hear the beats of all, this process's own among them."""
        await self._connection.client.subscribe(_BEATS, cb=self._note)

    async def beat(self, beat: Heartbeat) -> None:
        """Tell of this process; in vain while the engine is away."""
        with suppress(NatsError, OSError, *UNAVAILABLE):
            data = json.dumps({"name": self._name, **asdict(beat)}).encode()
            await self._connection.client.publish(_BEATS, data)

    async def _note(self, message: Msg) -> None:
        try:
            data = json.loads(message.data)
            workers = tuple(
                WorkerSnapshot(str(w["state"]), int(w["busy_ms"]), int(w["jobs"]), int(w["restarts"]))
                for w in data["workers"]
            )
            sandbox = {str(name): str(state) for name, state in data["sandbox"].items()}
            beat = Heartbeat(bool(data["serves"]), int(data["hands"]), workers, sandbox)
            self._heard[str(data["name"])] = (self._clock(), beat)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("a beat that cannot be understood", reason=repr(error))

    def beats(self) -> list[Heartbeat]:
        """Of every process that was heard of lately."""
        now = self._clock()
        self._heard = {name: (at, beat) for name, (at, beat) in self._heard.items() if now - at < _FORGOTTEN}
        return [beat for _, beat in self._heard.values()]
