"""A client of the Spillway image-upload service, with and without asyncio.

    with Client("http://127.0.0.1:8000") as spillway:
        image = spillway.upload("photo.jpg")
        spillway.download(image, "thumb", "thumb.jpg")

An upload that is refused for the moment is sent again when the service says, with the same Idempotency-Key,
so that it becomes one image however often it is sent.
"""

from spillway_client.asynchronous import AsyncClient
from spillway_client.errors import GaveUp, Gone, JobFailed, Refused, SpillwayError
from spillway_client.flows import Upload
from spillway_client.images import Image, Variant
from spillway_client.photos import Photo, photos_in
from spillway_client.synchronous import Client, Result
from spillway_client.webhooks import BadSignature, verify_webhook

__all__ = [
    "AsyncClient",
    "BadSignature",
    "Client",
    "GaveUp",
    "Gone",
    "Image",
    "JobFailed",
    "Photo",
    "Refused",
    "Result",
    "SpillwayError",
    "Upload",
    "Variant",
    "photos_in",
    "verify_webhook",
]
