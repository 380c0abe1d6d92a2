"""By what an upload is recognised when it returns at the moment that was reserved for it."""

from app.uploads.tickets import Uploader
from app.uploads.upload_request import requester_of


def key_of(*fields: tuple[bytes, bytes]) -> str:
    """The key of an upload with these fields, without what says whose it is."""
    scope = {"type": "http", "headers": list(fields)}
    return requester_of(Uploader("192.0.2.7"), scope).key.removeprefix("192.0.2.7/")


def test_an_upload_is_known_by_its_idempotency_key_else_by_its_length() -> None:
    """As they stand in the head."""
    length = (b"content-length", b"2913134")
    assert key_of(length) == "2913134"
    assert key_of(length, (b"idempotency-key", b'"a1b2"')) == '"a1b2"'


def test_long_and_strange_keys_are_as_short_as_others_and_stay_different() -> None:
    """A hundred thousand of them are kept, and written down at the end."""
    keys = {key_of((b"idempotency-key", value)) for value in (b"x" * 4000, b"x" * 4001, b"\xff" * 30)}
    assert len(keys) == 3
    assert all(len(key) <= 40 and key.isascii() for key in keys)
