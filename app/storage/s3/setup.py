"""What a store in a bucket rests on: a server that keeps its conditions, and a secret that replicas share."""

import secrets
from contextlib import suppress

from app.storage.interface import StoreError
from app.storage.s3.client import S3Client

_SECRET_BYTES = 32


async def probe(remote: S3Client) -> None:
    """Find out whether the server takes objects, and keeps to the conditions on which they are written.

    Raises:
        StoreError: what exists can be created again, and then nothing here would be certain.
        OSError: it does not even take an object.
    """
    await remote.put("probe", b"old")
    with suppress(FileExistsError):
        await remote.create("probe", b"new")
        raise StoreError(f"the server of {remote} does not support conditional writes")


async def shared_secret(remote: S3Client) -> bytes:
    """The key of the delete tokens, made by whichever replica is first.

    Raises:
        StoreError: it is cut, and no token could be trusted.
        OSError: it can be neither read nor made.
    """
    with suppress(FileExistsError):  # another replica has made it
        with suppress(FileNotFoundError):
            return _whole((await remote.get("secret"))[0], remote)
        secret = secrets.token_bytes(_SECRET_BYTES)
        await remote.create("secret", secret)
        return secret
    return _whole((await remote.get("secret"))[0], remote)


def _whole(secret: bytes, remote: S3Client) -> bytes:
    if len(secret) < _SECRET_BYTES:
        raise StoreError(f"the secret of {remote} is damaged: it has {len(secret)} bytes")
    return secret
