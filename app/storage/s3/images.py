"""The variants of a bucket's jobs, as objects `images/<id>/<file>`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.job import MadeVariant
from app.storage.interface import PROVISIONAL_LIFETIME_S, SIGNED_URL_LIFETIME_S, JobGone
from app.storage.s3.client import S3Client
from app.storage.s3.records import Records
from app.storage.verify import claimed_file, made_variant, pieces
from workers.formats import MEDIA_TYPES
from workers.messages import Made

IMAGES = "images"


def image_name(job_id: str, file: str) -> str:
    """The name of a variant's object."""
    return f"{IMAGES}/{job_id}/{file}"


@dataclass(frozen=True, slots=True)
class ImageWriter:
    """Writes the variants of jobs, which are kept for `retention` seconds once they are final."""

    client: S3Client
    records: Records
    retention: float

    async def put(self, job_id: str, name: str, made: MadeVariant, data: bytes) -> None:
        """Write a variant, unless another process has finished the job with a different one in the same file.

        A worker that was paused for longer than its lease may come back when another one, perhaps of a
        version that encodes differently, has made the job. Were its variant written over the other one, that
        would not match the digest in the record any more. So a variant is only created where there is none,
        or where the record does not name the one that is there: an earlier attempt may have ended before its
        record was written.

        Raises:
            JobGone: the job is final or removed, or has this variant already.
            StoreFull, StoreUnavailable: it was not written.
        """
        file, fields = image_name(job_id, made.file), self._fields(name, made)
        try:
            await self.client.create(file, data, fields)
        except FileExistsError:
            try:
                stored = await self.records.read(job_id)
            except FileNotFoundError:
                raise JobGone(job_id) from None
            there = None if stored is None else stored.made.get(name)
            if stored is not None and (stored.is_final or (there is not None and there.file == made.file)):
                raise JobGone(job_id) from None
            await self.client.put(file, data, len(data), fields)

    def _fields(self, name: str, made: MadeVariant) -> dict[str, str]:
        """The header fields with which the server is to send a variant to whoever has a signed URL of it."""
        max_age = int(
            min(PROVISIONAL_LIFETIME_S if made.provisional else SIGNED_URL_LIFETIME_S, self.retention)
        )
        return {
            "Content-Type": MEDIA_TYPES[made.format],
            "Content-Disposition": f'inline; filename="{made.file_name(name)}"',
            "Cache-Control": f"public, max-age={max_age}",
        }


def inspect_images(folder: Path, made: Sequence[Made]) -> dict[str, tuple[MadeVariant, bytes]]:
    """Variants and their bytes. Each file is read once, so the bytes inspected are those that are kept.

    Raises:
        VariantRejected, OSError: as `claimed_file`.
    """
    inspected = {}
    for each in made:
        with claimed_file(folder, each) as descriptor:
            data = b"".join(pieces(descriptor))
        inspected[each.name] = made_variant(each, len(data), hashlib.sha256(data).hexdigest()), data
    return inspected
