"""What all replicas on a bucket share besides its jobs: the layout, and the secret of the delete tokens."""

import secrets
from contextlib import suppress

from app.storage.base import SECRET_BYTES
from app.storage.interface import StoreFull, StoreUnusable
from app.storage.layout import LAYOUT_BYTES, LAYOUT_NAME, check_layout
from app.storage.s3.client import S3Client


async def check_shared_layout(client: S3Client) -> None:
    """See that this version can read what is in the bucket. Raises StoreUnusable, OSError."""
    with suppress(FileNotFoundError):
        layout, _ = await client.get(LAYOUT_NAME)
        check_layout(layout, f"the store {client}")


async def shared_secret(client: S3Client) -> bytes:
    """The secret, made by whichever replica starts first, as is the layout.

    Raises:
        StoreUnusable: it is damaged.
        OSError: it cannot be read or written now.
    """
    with suppress(FileExistsError, StoreFull):  # where there is no room a later start writes it
        await client.create(LAYOUT_NAME, LAYOUT_BYTES)
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
