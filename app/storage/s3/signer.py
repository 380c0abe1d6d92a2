"""Signed URLs of a bucket, at which anybody can read one variant for a while without the service."""

from typing import Literal

from app.job import Job
from app.storage.s3.client import S3Client
from app.storage.s3.images import image_name


class BucketSigner:
    """Signs URLs with the credentials of the store (AWS Signature Version 4)."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def sign(self, job: Job, variant: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str:
        return await self._client.sign(image_name(job.id, job.made[variant].file), method, lifetime_s)

    def origin(self) -> str:
        return self._client.origin()
