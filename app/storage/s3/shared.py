"""What all replicas on a bucket share besides its jobs: the layout, and the secret of the delete tokens."""

import secrets
from contextlib import suppress

from app.storage.base import SECRET_BYTES
from app.storage.interface import StoreFull, StoreUnusable
from app.storage.layout import LAYOUT_BYTES, LAYOUT_NAME, check_layout
from app.storage.s3.client import S3Client


async def check_bucket(client: S3Client) -> bool:
    """See that replicas of this version can share the bucket. Whether it has a `layout`.

    Raises:
        StoreUnusable: a newer version wrote it, or its server lacks what replicas need.
        OSError: it cannot be read now.
    """
    try:
        layout, _ = await client.get(LAYOUT_NAME)
        check_layout(layout, f"the store {client}")
        has_layout = True
    except FileNotFoundError:
        has_layout = False
    if not await client.has_conditional_writes():
        raise StoreUnusable(f"the server of {client} does not support conditional writes")
    return has_layout


async def create_layout(client: S3Client) -> None:
    """Write the `layout`, unless another replica was faster. Raises OSError."""
    with suppress(FileExistsError, StoreFull):  # where there is no room a later start writes it
        await client.create(LAYOUT_NAME, LAYOUT_BYTES)


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
