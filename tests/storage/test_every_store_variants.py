"""What every store has to do with what workers made, in a directory or in a bucket."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.job import Job, JobStatus
from app.storage.interface import VariantRejected
from tests import samples
from tests.storage.jobs import (
    PHOTO,
    accepted,
    claim,
    finished,
    made,
    read,
    span,
    used,
)
from tests.storage.outside import StoreFiles, names_of

pytestmark = pytest.mark.anyio


async def test_variants_are_served_as_they_were_hashed(store: Any) -> None:
    """A variant's size and digest are those of the file, and its bytes can be read from any offset."""
    job = await accepted(store)
    data = PHOTO + os.urandom(1_000_000)
    job.made.update(await made(store, job, thumb=data))
    variant = job.made["thumb"]
    assert (variant.file, variant.size, variant.format) == ("thumb.jpg", len(data), "jpeg")
    assert len(variant.digest) == 64
    assert await read(store, job, "thumb") == data
    blob = await store.blob(job, "thumb", (10, 14))
    assert await blob.read(10, 5) == data[10:15]
    blob.close()
    blob = await store.blob(job, "thumb")
    assert await blob.read(700_000, 5) == data[700_000:700_005]
    assert await span(blob, 0, 300_000) == data[:300_000]
    assert await blob.read(len(data), 5) == b""
    blob.close()


async def test_a_variant_whose_file_is_gone_or_changed_is_none(store: Any, files: StoreFiles) -> None:
    """Removed, cut or replaced by hand, it would not be what its digest says."""
    job = await finished(store)
    for data in (PHOTO + b"!", PHOTO[:-1]):
        files.put(files.image(job, "thumb.jpg"), data)
        assert await store.blob(job, "thumb") is None
    files.remove(files.image(job, "thumb.jpg"))
    assert await store.blob(job, "thumb") is None


async def stood_in(store: Any) -> Job:
    """A job that is done with a provisional variant; that one and another are deferred."""
    job = await accepted(store)
    job.made.update(await made(store, job, provisional=True, thumb=PHOTO))
    job.status, job.finished_at, job.deferred = JobStatus.DONE, time.time(), ("large", "thumb")
    await store.save(job)
    return job


async def test_a_provisional_variant_is_served_until_the_record_has_the_true_one(
    store: Any, files: StoreFiles
) -> None:
    """Each has a file of its own, so the bytes are those of the digest at every moment, whenever it dies."""
    job = await stood_in(store)
    assert (await store.load(job.id)).made["thumb"].provisional
    for _ in range(2):  # the process dies after the first time, before it writes the record
        final = replace(job, made=await made(store, job, thumb=PHOTO + b"!", large=PHOTO), deferred=())
        assert await read(store, await store.load(job.id), "thumb") == PHOTO
    final.completed_at = time.time() + 1
    await store.save(final)
    assert await read(store, final, "thumb") == PHOTO + b"!"
    assert await store.blob(job, "thumb") is None
    assert files.names() == names_of(files, final, images=("large.jpg", "thumb.jpg"))


async def test_a_provisional_variant_stays_where_the_true_one_cannot_be_made(store: Any) -> None:
    """It is all that there is of the photo."""
    job = await stood_in(store)
    final = replace(job, deferred=(), problem=("undecodable", "It is cut off."), completed_at=time.time() + 1)
    await store.save(final)
    assert await read(store, final, "thumb") == PHOTO


def _as_symlink(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def _as_hardlink(path: Path, outside: Path) -> None:
    path.hardlink_to(outside)


def _as_directory(path: Path, outside: Path) -> None:
    path.mkdir()


def _as_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _as_other_format(path: Path, outside: Path) -> None:
    path.write_bytes(samples.png())


def _as_page(path: Path, outside: Path) -> None:
    path.write_bytes(b"<!doctype html><script>alert(1)</script>")


def _as_nothing(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def _missing(path: Path, outside: Path) -> None:
    pass


FORGERIES = [
    _as_symlink,
    _as_hardlink,
    _as_directory,
    _as_pipe,
    _as_other_format,
    _as_page,
    _as_nothing,
    _missing,
]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_what_a_hostile_worker_leaves_is_not_taken(
    store: Any, tmp_path: Path, forge: Callable[[Path, Path], None]
) -> None:
    """Only plain files with the first bytes of their format are taken, and if one is not, none of the job."""
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(PHOTO)
    job = await accepted(store)
    folder = await store.workspace(job.id)
    (folder / "good.jpg").write_bytes(PHOTO)
    forge(folder / "bad.jpg", outside)
    with pytest.raises(VariantRejected):
        await store.take_variants(job, folder, [claim("good"), claim("bad")])
    await store.drop_workspace(folder)
    assert used(store) == len(PHOTO)
    assert not folder.exists()
    assert outside.read_bytes() == PHOTO
