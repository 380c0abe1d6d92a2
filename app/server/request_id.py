"""X-Request-Id: the name of a request, by which logs of several servers are put together.

A client, or the proxy in front, may send one. Where it sends none, or none that may be taken, one is made.
"""

import random
import re
from collections.abc import Iterable

FIELD = b"x-request-id"

_is_valid = re.compile(rb"[!-~]{1,128}").fullmatch
"""Printable ASCII without spaces, so that it can stand in a header field, a log line and a document."""


def sent_id(fields: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The first id among header fields (names in lower case), or None if there is none that may be taken."""
    for name, value in fields:
        if name == FIELD:
            return value if _is_valid(value) else None
    return None


def id_for(sent: bytes | None) -> bytes:
    """The id of a request that `sent` this one; a new one if it sent none."""
    return sent or random_uuid().encode()


def members(sent: bytes | None) -> dict[str, str]:
    """The extension members of a problem that tell the id: a client that sent none is told by the field."""
    return {} if sent is None else {"request_id": sent.decode()}


def random_uuid() -> str:
    """A UUID of version 4 (RFC 9562), without the system call of `uuid.uuid4`: a name, and no secret."""
    digits = f"{random.getrandbits(128):032x}"  # seeded anew in each process
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
