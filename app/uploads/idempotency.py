"""Idempotency keys: an upload sent again under its Idempotency-Key stands for the same job.

The header is that of draft-ietf-httpapi-idempotency-key-header. The id of such an upload's job is an HMAC of
client and key under the secret of the store, so the job itself is the only thing stored for a key: it is
durable and counted as the job is, it is gone when the job is gone, it needs no table, and it contains no
client address. The job's record tells whether a repeat brings the same file, asks for the same variants and
has the same reference. The file's name may differ: some clients choose one for each try. The first one stays.

The id of an upload with a single-use ticket belongs to the ticket instead, so no second upload can have it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.engine.job_handle import JobHandle
from app.job import Job
from app.runtime.recently_used import RecentlyUsed
from app.server.problems import ProblemError
from app.storage.interface import JobExists, Store
from app.uploads.ticket_claims import Ticket
from app.uploads.tickets import BadTicket

_MAX_REPLAYS = 8
"""Repeats that may be read at once."""
_MAX_CLIENT_REPLAYS = 2
"""Repeats of one client that may be read at once."""
_MAX_REMEMBERED_IDS = 10_000
_REPLAY_RETRY_AFTER_S = 5.0
_TICKET_USED = "The ticket is good for one upload, which has been accepted already."
KEY_PATTERN = r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-+\--:<-~]{1,255})$'
"""What the API description says of a key's form on the wire."""
_QUOTED_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"(?:[ \t]*;.*)?', re.ASCII)
_BARE_KEY = re.compile(r"([!#-+\--:<-~]{1,255})", re.ASCII)


class MalformedKey(ProblemError):
    """Raised when an Idempotency-Key is not what the draft says, too long, or there are several."""

    slug = "bad-request"


class KeyInUse(ProblemError):
    """Raised when an upload with this key is being received at this moment."""

    slug = "repeat-too-soon"


class KeyMismatch(ProblemError):
    """Raised when another file, other variants or another reference came under the key of an upload."""

    slug = "repeat-differs"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another file, other variants or another reference."
        )


class TooManyReplays(ProblemError):
    """Raised when as many repeats are being read as may be at once, in all or of one client."""

    slug = "repeats"

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "Too many uploads are being compared with what they repeat.", retry_after=retry_after
        )


def parse_key(values: Sequence[str]) -> str | None:
    """The key in the Idempotency-Key fields of a request; None if it has none.

    It is a string (RFC 9651) of 1 to 255 characters. Without quotes, as many clients send it, it is accepted
    too.

    Raises:
        MalformedKey: it has another form, or there are several.
    """
    if not values:
        return None
    value = values[0].strip(" \t")
    found = _QUOTED_KEY.fullmatch(value) or _BARE_KEY.fullmatch(value)
    if len(values) > 1 or found is None:
        raise MalformedKey("Idempotency-Key is one string of 1 to 255 characters, in quotes.")
    if value.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", found[1])
    return found[1]


class ContentDigest:
    """SHA-256 of a repeat's file, whose bytes are kept nowhere."""

    def __init__(self, prefix: bytes = b"") -> None:
        """`prefix` comes before the file's first byte."""
        self._prefix = prefix
        self._hash = hashlib.sha256(prefix)

    async def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        self._hash.update(data)

    async def restart(self) -> None:
        """Forget the bytes so far: those that follow are another file."""
        self._hash = hashlib.sha256(self._prefix)

    def hexdigest(self) -> str:
        """The digest of what was written, in hexadecimal."""
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class KeyedUpload:
    """What an Idempotency-Key stands for: the id of a job, and whether that job exists already."""

    id: str
    is_known: bool
    ticket_until: float | None = None
    """When the single-use ticket ends that the id belongs to; None if it belongs to the key."""
    key_id: str | None = None
    """The id that belongs to the key, where there is such a ticket too."""


@dataclass(frozen=True, slots=True)
class IdempotencySnapshot:
    """First uploads with a key that are `arriving`, and repeats that are being read, at most `capacity`."""

    arriving: int
    reading: int
    capacity: int


class IdempotencyKeys:
    """Tells first uploads from repeats, and bounds how many repeats are read at once."""

    def __init__(self, store: Store, find_handle: Callable[[str], JobHandle | None]) -> None:
        """`find_handle` gives the handle of a job that is under way."""
        self._store = store
        self._find_handle = find_handle
        self._arriving: set[str] = set()
        self._recent: RecentlyUsed[None] = RecentlyUsed(_MAX_REMEMBERED_IDS)
        self._reading: Counter[str] = Counter()  # by client

    async def lookup(
        self, client: str, values: Sequence[str], ticket: Ticket | None = None
    ) -> KeyedUpload | None:
        """What a client's upload stands for by its single-use ticket, else by its Idempotency-Key fields.

        None when it has neither.

        Raises:
            MalformedKey: the fields are malformed.
            KeyInUse: the first upload with this key or ticket is still being received.
            BadTicket: the ticket was used, and this is no repeat of its upload under an Idempotency-Key.
        """
        key = parse_key(values)
        key_id = None if key is None else self._store.id_of_key(client, key)
        ticket_id = self._id_of_ticket(ticket)
        job_id = ticket_id or key_id
        if job_id is None:
            return None
        handle = self._find_handle(job_id)
        job = await self._store.load(job_id) if handle is None else handle.job
        if ticket_id is not None:
            if job is None and await self._store.is_spent(ticket_id):
                raise BadTicket(_TICKET_USED)
            if job is not None and (key_id is None or job.repeat_id != key_id):
                raise BadTicket(_TICKET_USED)
        if job is not None:
            self._recent.put(job_id, None)
            return KeyedUpload(job_id, is_known=True)
        self._check_arriving(job_id)
        if ticket is None or ticket_id is None:
            return KeyedUpload(job_id, is_known=False)
        return KeyedUpload(job_id, is_known=False, ticket_until=ticket.valid_until, key_id=key_id)

    def _id_of_ticket(self, ticket: Ticket | None) -> str | None:
        """The id of the job that belongs to a single-use ticket: an HMAC of its issuer and its `jti`."""
        if ticket is None or ticket.single_use is None:
            return None
        return self._store.id_of_key(f"ticket of {ticket.key}", ticket.single_use)

    def is_familiar(self, client: str, values: Sequence[str], ticket: Ticket | None = None) -> bool:
        """Whether the upload is a repeat as far as memory tells, or its fields are malformed.

        It never waits, since in a flood the store cannot be asked about each key. A repeat of an upload that
        is no longer remembered may then be refused like a new upload, and is recognised when it returns.
        """
        try:
            key = parse_key(values)
        except MalformedKey:
            return True
        if key is None:
            return False
        job_id = self._id_of_ticket(ticket) or self._store.id_of_key(client, key)
        return job_id in self._recent or self._find_handle(job_id) is not None

    def _check_arriving(self, job_id: str) -> None:
        if job_id in self._arriving:
            raise KeyInUse("Another upload with this key, or this ticket, is still on its way in.")

    @contextmanager
    def first_upload(self, keyed: KeyedUpload | None) -> Iterator[None]:
        """Surrounds the reception of a first upload, so that no other one with its key is received meanwhile.

        Raises:
            KeyInUse, BadTicket: another upload with the key, or the ticket, came first.
        """
        if keyed is None:
            yield
            return
        self._check_arriving(keyed.id)
        self._arriving.add(keyed.id)
        try:
            yield
            self._recent.put(keyed.id, None)
        except JobExists:  # accepted by another replica, or just after `lookup` had found no job
            if keyed.ticket_until is not None and keyed.key_id is None:
                raise BadTicket(_TICKET_USED) from None
            raise KeyInUse("Another upload with this key, or this ticket, has just been accepted.") from None
        finally:
            self._arriving.discard(keyed.id)

    @contextmanager
    def replay(self, client: str) -> Iterator[None]:
        """Surrounds the reading of a client's repeat.

        Raises:
            TooManyReplays: as many others are being read as may be at once.
        """
        if self._reading.total() >= _MAX_REPLAYS or self._reading[client] >= _MAX_CLIENT_REPLAYS:
            raise TooManyReplays(_REPLAY_RETRY_AFTER_S)
        self._reading[client] += 1
        try:
            yield
        finally:
            self._reading[client] -= 1
            if not self._reading[client]:
                del self._reading[client]

    def snapshot(self) -> IdempotencySnapshot:
        """The state now."""
        return IdempotencySnapshot(len(self._arriving), self._reading.total(), _MAX_REPLAYS)


def check_same(job: Job, content: ContentDigest) -> None:
    """Check that a repeat brought the file of its job.

    A job whose record has lost its digest by damage accepts any.

    Raises:
        KeyMismatch: it brought another one.
    """
    if (job.fingerprint or job.digest) not in (None, content.hexdigest()):
        raise KeyMismatch
