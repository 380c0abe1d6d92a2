"""The clients of a stampede, of five kinds; each accepted upload is followed to its end."""

import asyncio
import random
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.stampede.http_client import Answer, NoAnswer, ask
from app.stampede.ledger import Ledger
from app.stampede.target import Target

_MAX_CONNECTIONS = 1500
"""Connections at once; further clients wait for one to be closed before they connect."""
_MAX_ATTEMPTS = 50
_IMPATIENCE_S = 2.0
"""How long an impatient client waits before it asks again, whatever it was told."""
_STEPS = 4
"""The parts of an act after each of which the rate of a crowd may grow."""
_LONG_POLL_S = 20
"""Seconds for which the server may hold a question for a job's status, by `Prefer: wait`."""
_POLL_PAUSE_S = 0.2
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_FINAL_STATUSES = {"done", "failed", "cancelled"}

Upload = Callable[[str | None], Coroutine[None, None, None]]
"""What one client does, from the given address; None for whichever the system chooses."""


@dataclass(slots=True)
class Crowd:
    """The clients of one act, all of which upload the same photo; the ledger counts what happens to them."""

    target: Target
    photo: bytes
    ledger: Ledger
    sources: Sequence[str | None]
    _connections: asyncio.Semaphore
    _following: asyncio.TaskGroup
    beside: Target | None = None
    """A service of another kind to which every client uploads the photo as well; its answers do not count."""

    @classmethod
    def of(
        cls,
        target: Target,
        photo: bytes,
        ledger: Ledger,
        sources: Sequence[str | None],
        following: asyncio.TaskGroup,
    ) -> "Crowd":
        """A crowd whose accepted jobs are followed by tasks of `following`."""
        return cls(target, photo, ledger, sources, asyncio.Semaphore(_MAX_CONNECTIONS), following)

    def with_sources(self, sources: Sequence[str | None]) -> "Crowd":
        """This crowd with other addresses to come from."""
        return replace(self, sources=sources)

    async def arrive(self, upload: Upload, rate: float, seconds: float) -> None:
        """Start `rate` clients a second, however the server does, each from the next of the addresses.

        Returns when all of them have ended.
        """
        async with asyncio.TaskGroup() as clients:
            await self._start(clients, upload, rate, seconds)

    async def arrive_until_full(self, upload: Upload, rates: tuple[float, float], seconds: float) -> None:
        """Start clients at the first of the rates, and at up to the second until one finds the queue full.

        What a server can do is known only roughly when it has just been started, and a brownout makes it
        several times faster; each crowd is to show a full queue all the same.
        """
        rate, max_rate = rates
        started = 0
        async with asyncio.TaskGroup() as clients:
            for _ in range(_STEPS):
                started = await self._start(clients, upload, rate, seconds / _STEPS, started)
                if not self.ledger.found_full:
                    rate = min(2 * rate, max_rate)

    async def _start(
        self, clients: asyncio.TaskGroup, upload: Upload, rate: float, seconds: float, first: int = 0
    ) -> int:
        """Start `rate` clients a second, from the address with number `first` on; how many there are then.

        Returns when the last of them has been started.
        """
        began = time.monotonic()
        count = max(1, round(rate * seconds))
        for number in range(count):
            await asyncio.sleep(began + number / rate - time.monotonic())
            source = self.sources[(first + number) % len(self.sources)]
            self.ledger.photos += 1
            self.ledger.addresses.add(source or socket.gethostname())
            clients.create_task(upload(source))
            if self.beside is not None:
                clients.create_task(self._upload_beside(self.beside))
        return first + count

    async def _upload_beside(self, beside: Target) -> None:
        with suppress(NoAnswer):
            await ask(beside, "POST /upload", headers={"Content-Type": "image/jpeg"}, body=self.photo)

    async def hasty(self, source: str | None) -> None:
        """Upload once, whatever the answer is."""
        await self._send(source)

    async def lenient(self, source: str | None) -> None:
        """Upload once, and accept a preview when the queue is full."""
        await self._send(source, {"Prefer": "handling=lenient"})

    async def impatient(self, source: str | None) -> None:
        """Upload until accepted, each time two seconds after the refusal before, whatever it said."""
        await self._insist(source, lambda _: _IMPATIENCE_S)

    async def patient(self, source: str | None) -> None:
        """Upload until accepted, each time exactly when the answer before said."""
        await self._insist(source, lambda told_s: told_s)

    async def _insist(self, source: str | None, pause_s: Callable[[float], float]) -> None:
        """Upload until accepted. `pause_s` makes a Retry-After the pause before the next try; in seconds."""
        due_at, returns = None, 0
        key = f'"{uuid.uuid4()}"'  # so that each attempt is the same upload to the server
        for _ in range(_MAX_ATTEMPTS):
            answer = await self._send(source, {"Idempotency-Key": key})
            if answer is None:
                return
            now = time.monotonic()
            if answer.status < 300:
                if due_at is not None:
                    self.ledger.got_in += 1
                    if returns == 1:
                        self.ledger.first_return += 1
                    self.ledger.promise_error_s.append(now - due_at)
                return
            if answer.retry_after is None:
                return
            # Only a 503 reserves a place in the queue; a 429 names the time of the next token.
            if due_at is None and answer.status == 503:
                due_at = now + answer.retry_after
                self.ledger.turned_away += 1
            if due_at is not None:
                returns += 1
            await asyncio.sleep(pause_s(answer.retry_after))

    def slow(self, seconds: float) -> Upload:
        """A client that sends one byte a second, and hangs up after `seconds`."""

        async def upload(source: str | None) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._send(source, seconds_per_byte=1.0)

        return upload

    async def _send(
        self, source: str | None, headers: Mapping[str, str] = _NO_HEADERS, *, seconds_per_byte: float = 0
    ) -> Answer | None:
        """Upload the photo once and count the answer; None when there was none."""
        async with self._connections:
            self.ledger.sent += 1
            try:
                answer = await ask(
                    self.target,
                    "POST /v1/images",
                    source=source,
                    headers={"Content-Type": "image/jpeg", **headers},
                    body=self.photo,
                    seconds_per_byte=seconds_per_byte,
                )
            except NoAnswer as error:
                self.ledger.unanswered[str(error)] += 1
                return None
            except asyncio.CancelledError:
                self.ledger.hung_up += 1
                raise
        self.ledger.count(answer)
        if answer.status == 202:
            location = answer.location or "/v1/images/none"
            self._following.create_task(self._follow(source, location, time.monotonic()))
        return answer

    async def _follow(self, source: str | None, location: str, accepted_at: float) -> None:
        """Ask for a job's status until it has ended; a server that does not answer is asked again."""
        while True:
            try:
                async with self._connections:
                    headers = {"Prefer": f"wait={_LONG_POLL_S}"}
                    answer = await ask(self.target, f"GET {location}", source=source, headers=headers)
            except NoAnswer:
                await asyncio.sleep(1)
                continue
            document = answer.json()
            if answer.status == 200 and document.get("status") in _FINAL_STATUSES:
                break
            if answer.status == 404:
                self.ledger.lost += 1
                return
            # Any other status: too many requests are held already. Random pauses give each of them a chance.
            pause = _POLL_PAUSE_S if answer.status == 200 else random.uniform(0.2, 1)  # noqa: S311
            await asyncio.sleep(pause)
        if document["status"] == "done":
            self.ledger.done += 1
            self.ledger.deferred += bool(document.get("deferred"))
            variants = (document.get("variants") or {}).values()
            self.ledger.provisional += any(variant.get("provisional") for variant in variants)
            self.ledger.wait_s.append(time.monotonic() - accepted_at)
        else:
            problem = document.get("problem") or {}
            self.ledger.failed[str(problem.get("title", document["status"]))] += 1
