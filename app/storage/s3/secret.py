"""The secret of a bucket: the key of the delete tokens, the same for all replicas."""

import secrets

from app.storage.base import SECRET_BYTES
from app.storage.interface import StoreUnusable
from app.storage.s3.client import S3Client


async def shared_secret(client: S3Client) -> bytes:
    """The secret, made by whichever replica starts first.

    Raises:
        StoreUnusable: it is damaged.
        OSError: it cannot be read or written now.
    """
    try:
        secret, _ = await client.get("secret")
    except FileNotFoundError:
        secret = secrets.token_bytes(SECRET_BYTES)
        try:
            await client.create("secret", secret)
        except FileExistsError:  # another replica was faster
            secret, _ = await client.get("secret")
    if len(secret) < SECRET_BYTES:
        raise StoreUnusable(f"the secret of {client} is damaged: it has {len(secret)} bytes")
    return secret
