"""Repeats: an upload sent again under its Idempotency-Key is the same job.

The header is that of draft-ietf-httpapi-idempotency-key-header. The id of such an upload's job is an HMAC,
under the store's secret, of its client and key: so the job itself is all that is kept of a key. It is durable
and counted as the job is, goes when the job goes, needs no table, and holds no client's address. Whether it
is the same file and the same variants again, a digest in the job's record tells.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.engine.job_handle import JobHandle
from app.job import Job
from app.server.problems import ProblemError
from app.storage.interface import JobExists, Spool, Store

_MOST_READ = 8
_MOST_REMEMBERED = 10_000
_PAUSE = 5.0
"""Seconds that a repeat is told to wait while others are being read."""
KEY_PATTERN = r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-+\--:<-~]{1,255})$'
"""What a key looks like on the wire, as the description tells it."""
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"(?:[ \t]*;.*)?', re.ASCII)
_TOKEN = re.compile(r"([!#-+\--:<-~]{1,255})", re.ASCII)


class MalformedKey(ProblemError):
    """Raised when an Idempotency-Key is not what the draft says, too long, or there are several."""

    slug = "bad-request"


class KeyInUse(ProblemError):
    """Raised when an upload with this key is being received at this moment."""

    slug = "repeat-too-soon"


class KeyMismatch(ProblemError):
    """Raised when another file, or other variants, came under the key of an earlier upload."""

    slug = "repeat-differs"


class TooManyReplays(ProblemError):
    """Raised when as many repeats are being read as may be at once."""

    slug = "repeats"

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "Too many uploads are being compared with what they repeat.", retry_after=retry_after
        )


def parse_key(values: Sequence[str]) -> str | None:
    """The key of Idempotency-Key fields: a string (RFC 9651), or bare, as many send it; 255 characters.

    Raises:
        BadKey: it is neither, or there are several.
    """
    if not values:
        return None
    value = values[0].strip(" \t")
    found = _STRING.fullmatch(value) or _TOKEN.fullmatch(value)
    if len(values) > 1 or found is None:
        raise MalformedKey("Idempotency-Key is one string of 1 to 255 characters, in quotes.")
    return re.sub(r'\\(["\\])', r"\1", found[1]) if value.startswith('"') else found[1]


class Fingerprint:
    """SHA-256 of the variants asked for and of the file, which passes here on its way to a spool, if any."""

    def __init__(self, variants: Iterable[str], spool: Spool | None = None) -> None:
        self._hash = hashlib.sha256(",".join(variants).encode() + b"\n")
        self._spool = spool

    async def write(self, data: bytes) -> None:
        """Count in more of the file. Raises StoreFull when the spool does."""
        self._hash.update(data)
        if self._spool is not None:
            await self._spool.write(data)

    def digest(self) -> str:
        """The digest so far, in hexadecimal."""
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class KeyedUpload:
    """What a key stands for: the id of its job, and whether there is that job already."""

    id: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class IdempotencySnapshot:
    """First uploads with a key that are on their way in, and repeats that are being read, of so many."""

    arriving: int
    reading: int
    capacity: int


class IdempotencyKeys:
    """Tells first uploads from repeats, and bounds how many repeats are read at once."""

    def __init__(self, store: Store, find_handle: Callable[[str], JobHandle | None]) -> None:
        """`find_live` gives a job that is under way."""
        self._store = store
        self._find_handle = find_handle
        self._arriving: set[str] = set()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._reading = 0

    async def lookup(self, client: str, values: Sequence[str]) -> KeyedUpload | None:
        """What an upload's Idempotency-Key fields stand for; None when it has none.

        Raises:
            BadKey: they are malformed.
            OnItsWay: the upload that it repeats is being received.
        """
        key = parse_key(values)
        if key is None:
            return None
        job_id = self._store.id_of_key(client, key)
        if self._find_handle(job_id) is not None or await self._store.load(job_id) is not None:
            self._remember(job_id)
            return KeyedUpload(job_id, is_known=True)
        self._check_arriving(job_id)
        return KeyedUpload(job_id, is_known=False)

    def is_familiar(self, client: str, values: Sequence[str]) -> bool:
        """Whether memory knows these fields for those of a repeat, or they are malformed: without a wait.

        A flood is no time to look into the store for each key. A repeat of an upload of long ago, or of
        before a restart, may be refused in it as if it were new, and gets in at its turn.
        """
        try:
            key = parse_key(values)
        except MalformedKey:
            return True
        if key is None:
            return False
        job_id = self._store.id_of_key(client, key)
        return job_id in self._recent or self._find_handle(job_id) is not None

    def _remember(self, job_id: str) -> None:
        self._recent[job_id] = None
        if len(self._recent) > _MOST_REMEMBERED:
            self._recent.popitem(last=False)

    def _check_arriving(self, job_id: str) -> None:
        if job_id in self._arriving:
            raise KeyInUse("The upload that this one repeats is still on its way in.")

    @contextmanager
    def first_upload(self, keyed: KeyedUpload | None) -> Iterator[None]:
        """Around the reception of a first upload, so that no other of its key is received meanwhile.

        Raises:
            OnItsWay: another was first.
        """
        if keyed is None:
            yield
            return
        self._check_arriving(keyed.id)
        self._arriving.add(keyed.id)
        try:
            yield
            self._remember(keyed.id)
        except JobExists:  # accepted elsewhere, or in the very moment in which this one was let in
            raise KeyInUse("Another upload with this key has just been accepted.") from None
        finally:
            self._arriving.discard(keyed.id)

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Around the reading of a repeat.

        Raises:
            RepeatsFull: enough others are being read.
        """
        if self._reading >= _MOST_READ:
            raise TooManyReplays(_PAUSE)
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    def snapshot(self) -> IdempotencySnapshot:
        """The state now."""
        return IdempotencySnapshot(len(self._arriving), self._reading, _MOST_READ)


def check_same(job: Job, fingerprint: Fingerprint) -> None:
    """Whether a repeat brings what its job was made of.

    Raises:
        OtherUpload: it does not. A record that was damaged knows no better, and takes anything for the same.
    """
    if job.fingerprint not in (None, fingerprint.digest()):
        raise KeyMismatch("This Idempotency-Key was used for another file, or for other variants.")
