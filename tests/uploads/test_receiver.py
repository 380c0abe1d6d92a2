"""What tells the repeat of an upload from another one."""

import hashlib
from typing import Any, cast

import pytest

from app.job import Job, new_id
from app.uploads.file_sink import Received
from app.uploads.idempotency import IdempotencyKeys, KeyMismatch, check_same
from app.uploads.receiver import UploadReceiver
from workers.variants import parse_variants

pytestmark = pytest.mark.anyio
PHOTO = b"a photo"


class _Body:
    """A body that holds `PHOTO`."""

    async def receive(self, _request: object, target: Any, _slot: object, _max_bytes: object) -> Received:
        await target.write(b"another one that came first")
        await target.restart()
        await target.write(PHOTO)
        return Received(len(PHOTO), "jpeg", 0)


class _Upload:
    """A repeat of unknown length."""

    client = "a client"
    media_type = "image/jpeg"
    declared_size = None
    reference = "7"
    ticket = None
    slot = None


def job(**fields: Any) -> Job:
    """A job of the upload that is repeated."""
    return Job(new_id(), 1000.0, len(PHOTO), (), **fields)


async def content_of_repeat(of: Job, names: str | None) -> Any:
    """The digest of a repeat that was read."""
    keys = IdempotencyKeys(cast("Any", None), lambda _: None)
    variants = parse_variants("large=1600,thumb=96")
    receiver = UploadReceiver(
        cast("Any", _Body()), keys, cast("Any", None), cast("Any", None), variants, False
    )
    return (await receiver.read_repeat(cast("Any", None), cast("Any", _Upload()), names, of))[0]


SHA256 = hashlib.sha256(PHOTO).hexdigest()
RECORDS = {
    "of this version": job(asked=("thumb",), reference="7", digest=SHA256),
    "of an earlier version": job(fingerprint=hashlib.sha256(b"thumb\n" + PHOTO).hexdigest()),
    "damaged": job(),
}


@pytest.mark.parametrize("record", RECORDS)
async def test_a_repeat_is_recognised_by_every_record(record: str) -> None:
    """By its variants and its file; a damaged record accepts any."""
    check_same(RECORDS[record], await content_of_repeat(RECORDS[record], "thumb"))


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (job(asked=(), reference="7", digest=SHA256), "thumb"),
        (job(asked=("thumb",), reference=None, digest=SHA256), "thumb"),
        (job(asked=(), reference="7", digest="0" * 64), None),
        (job(fingerprint=hashlib.sha256(b"\n" + PHOTO).hexdigest()), "thumb"),
    ],
    ids=["other variants", "another reference", "another file", "other variants, earlier version"],
)
async def test_what_differs_is_no_repeat(record: Job, names: str | None) -> None:
    """Whatever the version of the record."""
    with pytest.raises(KeyMismatch):
        check_same(record, await content_of_repeat(record, names))
