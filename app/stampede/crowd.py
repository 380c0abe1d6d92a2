"""The clients of a stampede: hasty, patient, lenient or slow, each upload followed to its end."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.stampede.http_client import Answer, Unseen, ask
from app.stampede.ledger import Ledger
from app.stampede.target import Target

_MOST_OPEN = 1500
"""Connections at once; later clients queue for one at home."""
_TRIES = 50
_FOLLOW_S = 20
_SOON_S = 0.2
_NONE: Mapping[str, str] = MappingProxyType({})
ENDED = {"done", "failed", "cancelled"}

Upload = Callable[[str | None], Coroutine[None, None, None]]


@dataclass(slots=True)
class Crowd:
    """Clients of one act, all uploading the same photo; what happens to them is entered in the ledger."""

    target: Target
    photo: bytes
    ledger: Ledger
    sources: Sequence[str | None]
    _open: asyncio.Semaphore
    _following: asyncio.TaskGroup

    @classmethod
    def of(
        cls,
        target: Target,
        photo: bytes,
        ledger: Ledger,
        sources: Sequence[str | None],
        following: asyncio.TaskGroup,
    ) -> "Crowd":
        """A crowd whose jobs are followed by tasks of `following`."""
        return cls(target, photo, ledger, sources, asyncio.Semaphore(_MOST_OPEN), following)

    def at(self, sources: Sequence[str | None]) -> "Crowd":
        """The same crowd from other addresses."""
        return replace(self, sources=sources)

    async def arrive(self, upload: Upload, rate: float, seconds: float) -> None:
        """Let clients come, `rate` a second whatever the server does, the next address for each."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as clients:
            for number in range(max(1, round(rate * seconds))):
                await asyncio.sleep(began + number / rate - time.monotonic())
                source = self.sources[number % len(self.sources)]
                self.ledger.photos += 1
                self.ledger.addresses.add(source)
                clients.create_task(upload(source))

    async def hasty(self, source: str | None) -> None:
        """Upload once, and take the answer as it is."""
        await self._send(source)

    async def lenient(self, source: str | None) -> None:
        """Upload once, content with a preview."""
        await self._send(source, {"Prefer": "handling=lenient"})

    async def patient(self, source: str | None) -> None:
        """Upload, and come back exactly when told to until it is in."""
        promised_at, returns = None, 0
        key = f'"{uuid.uuid4()}"'  # so that coming back is the same upload to the server
        for _ in range(_TRIES):
            answer = await self._send(source, {"Idempotency-Key": key})
            if answer is None:
                return
            now = time.monotonic()
            if answer.status < 300:
                if promised_at is not None:
                    self.ledger.got_in += 1
                    self.ledger.first_return += returns == 1
                    self.ledger.late_s.append(now - promised_at)
                return
            if answer.retry_after is None:
                return
            # A 429 names the next token of a bucket, which is no place in the queue.
            if promised_at is None and answer.status == 503:
                promised_at = now + answer.retry_after
                self.ledger.turned_away += 1
            returns += promised_at is not None
            await asyncio.sleep(answer.retry_after)

    def dripping(self, seconds: float) -> Upload:
        """A client that sends one byte a second, and hangs up after `seconds`."""

        async def drip(source: str | None) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._send(source, byte_s=1.0)

        return drip

    async def _send(
        self, source: str | None, fields: Mapping[str, str] = _NONE, *, byte_s: float = 0
    ) -> Answer | None:
        async with self._open:
            self.ledger.sent += 1
            try:
                answer = await ask(
                    self.target,
                    "POST /v1/images",
                    source=source,
                    fields={"Content-Type": "image/jpeg", **fields},
                    body=self.photo,
                    byte_s=byte_s,
                )
            except Unseen as error:
                self.ledger.unseen[str(error)] += 1
                return None
            except asyncio.CancelledError:
                self.ledger.left += 1
                raise
        self.ledger.count(answer)
        if answer.status == 202:
            location = answer.headers.get("location", "/v1/images/none")
            self._following.create_task(self._follow(source, location, time.monotonic()))
        return answer

    async def _follow(self, source: str | None, location: str, accepted_at: float) -> None:
        """Ask for a job until it has ended; a server that is away for a while is asked again."""
        while True:
            try:
                async with self._open:
                    fields = {"Prefer": f"wait={_FOLLOW_S}"}
                    answer = await ask(self.target, f"GET {location}", source=source, fields=fields)
            except Unseen:
                await asyncio.sleep(1)
                continue
            document = answer.json()
            if answer.status == 200 and document.get("status") in ENDED:
                break
            if answer.status == 404:
                self.ledger.lost += 1
                return
            # Too many wait already: spread out, or the same ones would win each time.
            await asyncio.sleep(_SOON_S if answer.status == 200 else random.uniform(0.2, 1))  # noqa: S311
        if document["status"] == "done":
            self.ledger.done += 1
            self.ledger.deferred += bool(document.get("deferred"))
            self.ledger.wait_s.append(time.monotonic() - accepted_at)
        else:
            problem = document.get("problem") or {}
            self.ledger.failed[str(problem.get("title", document["status"]))] += 1
