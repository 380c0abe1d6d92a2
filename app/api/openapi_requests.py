"""What /openapi.json says of the requests: the bodies, queries and header fields that endpoints read."""

from collections.abc import Sequence
from typing import Any, Final

from app.uploads.idempotency import KEY_PATTERN
from app.uploads.reference import REFERENCE_PATTERN
from workers.variants import Variant

UPLOAD_BODY: Final = {
    "description": "The image: as a file in a form, or raw. A raw body has the image's own type "
    "(`image/jpeg`, `image/png`, …) or `application/octet-stream`; its first bytes decide in any case.",
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "minLength": 1,
                        "description": "the image",
                    },
                },
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
    },
}
PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`wait=N`: answer when the job has ended, or after N seconds (RFC 7240).",
}
_UPLOAD_PREFER: Final = {
    **PREFER,
    "description": "`wait=N`: answer when the job has ended, or after N seconds. `handling=lenient`: a "
    "preview instead of an error when the queue is full; `strict`: the error (RFC 7240).",
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": "a string in quotes, new for each photo: sent again under it, the same file is the same "
    "job (draft-ietf-httpapi-idempotency-key-header).",
}
_REFERENCE: Final = {
    "name": "reference",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "pattern": REFERENCE_PATTERN},
    "description": "what the client calls this upload, in printable characters; given back in its document",
}
# The key has no example: Swagger UI would send that with every photo, and refuse the second as another file.


def _variants_parameter(variants: Sequence[Variant]) -> dict[str, Any]:
    """`?variants=a,b`; the names are those of the settings.

    It is a string and not an array, for generated clients write an array as one parameter for each item.
    """
    names = [variant.name for variant in variants]
    one = f"({'|'.join(names)})"
    return {
        "name": "variants",
        "in": "query",
        "required": False,
        "description": "some of the variants, comma separated; there are "
        + ", ".join(f"`{variant.spec}`" for variant in variants),
        "schema": {"type": "string", "pattern": f"^{one}(,{one})*$"},
    }


def upload_parameters(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """What an upload reads of query and header, beside its body."""
    return [_variants_parameter(variants), _REFERENCE, _UPLOAD_PREFER, _IDEMPOTENCY_KEY]


def more_parameters(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """What a request for more variants of an image reads of query and header."""
    return [_variants_parameter(variants), PREFER]
