"""The reference of an upload: what its client calls it, given back in the job's document and in webhooks."""

import re
from typing import Final

from starlette.types import Scope

from app.server.problems import ProblemError
from app.server.routes import query_of

UNPRINTABLE: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffd"
"""Characters for a set in a regular expression, of Python or JavaScript: control characters, line separators,
what changes the direction of text, and U+FFFD, which stands for bytes that are not UTF-8."""
REFERENCE_PATTERN: Final = rf"^[^{UNPRINTABLE}]{{1,128}}$"
"""What the API description says of a reference."""
_REFERENCE = re.compile(rf"[^{UNPRINTABLE}]{{1,128}}")


class MalformedReference(ProblemError):
    """Raised when the reference of an upload is empty, too long, or has characters that cannot be shown."""

    slug = "bad-request"

    def __init__(self) -> None:
        super().__init__("A reference is 1 to 128 printable characters, in UTF-8.")


def reference_of(scope: Scope) -> str | None:
    """The value of `?reference=…`, None if there is none.

    Raises:
        MalformedReference: it is not 1 to 128 printable characters.
        TooManyParameters: as `query_of`.
    """
    reference = query_of(scope).get("reference")
    if reference is not None and not is_reference(reference):
        raise MalformedReference
    return reference


def is_reference(text: str) -> bool:
    """Whether this may be a reference."""
    return _REFERENCE.fullmatch(text) is not None
