"""The reference of an upload: what its client calls it, given back in the job's document and in webhooks."""

from starlette.types import Scope

from app.server.problems import ProblemError
from app.server.routes import query_of

MAX_REFERENCE = 128
"""Characters."""


class MalformedReference(ProblemError):
    """Raised when the reference of an upload is empty, too long, or has characters that cannot be shown."""

    slug = "bad-request"

    def __init__(self) -> None:
        super().__init__(f"A reference is 1 to {MAX_REFERENCE} printable characters, in UTF-8.")


def reference_of(scope: Scope) -> str | None:
    """The value of `?reference=…`, None if there is none.

    Raises:
        MalformedReference: it is not 1 to `MAX_REFERENCE` printable characters.
        TooManyParameters: as `query_of`.
    """
    reference = query_of(scope).get("reference")
    if reference is not None and not is_reference(reference):
        raise MalformedReference
    return reference


def is_reference(text: str) -> bool:
    """Whether this may be a reference. U+FFFD stands for bytes that are not UTF-8."""
    return 1 <= len(text) <= MAX_REFERENCE and text.isprintable() and "\ufffd" not in text
