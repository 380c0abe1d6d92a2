"""An uploaded image, as the service's job document describes it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Variant:
    """One output of an image; width and height in pixels, `size` in bytes, `url` from the service's root.

    It is `provisional` while it is made of the thumbnail in the photo; the true one is among those deferred.
    """

    name: str
    url: str
    width: int
    height: int
    size: int
    format: str
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the service has accepted.

    `status` is one of queued, processing, done, failed and cancelled. `deferred` names variants that will be
    made later. `delete_token` is known to whoever uploaded the image alone. `document` is the whole job
    document.
    """

    id: str
    status: str
    variants: dict[str, Variant]
    deferred: tuple[str, ...]
    delete_token: str | None
    document: dict[str, Any]

    @property
    def is_decided(self) -> bool:
        """Whether the image is done, has failed or was removed, even if variants are deferred."""
        return self.status in ("done", "failed", "cancelled")

    @classmethod
    def from_document(cls, document: dict[str, Any], delete_token: str | None = None) -> "Image":
        """Read a job document; `delete_token` is used if the document has none, as all but the first do."""
        return cls(
            id=document["id"],
            status=document["status"],
            variants={name: _variant(name, each) for name, each in document["variants"].items()},
            deferred=tuple(document["deferred"]),
            delete_token=document.get("delete_token", delete_token),
            document=document,
        )


def _variant(name: str, each: dict[str, Any]) -> Variant:
    return Variant(
        name,
        each["url"],
        each["width"],
        each["height"],
        each["bytes"],
        each["format"],
        each.get("provisional", False),
    )
