"""The variants of a bucket's jobs, as objects `images/<id>/<file>`."""

from app.storage.interface import JobGone
from app.storage.s3.client import S3Client
from app.storage.s3.records import Records

IMAGES = "images"


def image_name(job_id: str, file: str) -> str:
    """The name of a variant's object."""
    return f"{IMAGES}/{job_id}/{file}"


async def put_image(client: S3Client, records: Records, name: str, job_id: str, data: bytes) -> None:
    """Write a variant, unless another process has finished the job with a different one of the same name.

    A worker that was paused for longer than its lease may come back when another one, perhaps of a version
    that encodes differently, has made the job. Were its variant written over the other one, that would not
    match the digest in the record any more. So a variant is only created where there is none, or where the
    record does not name the one that is there: an earlier attempt may have ended before its record was
    written.

    Raises:
        JobGone: the job is final or removed.
        StoreFull, StoreUnavailable: it was not written.
    """
    try:
        await client.create(name, data)
    except FileExistsError:
        try:
            stored = await records.read(job_id)
        except FileNotFoundError:
            raise JobGone(job_id) from None
        if stored is not None and stored.is_final:
            raise JobGone(job_id) from None
        await client.put(name, data, len(data))
