"""Frames and messages are read as untrusted input."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.messages import (
    LENGTH_BYTES,
    MAX_FRAME,
    Cancel,
    Done,
    Failed,
    FrameBuffer,
    Made,
    Message,
    ProtocolError,
    Ready,
    Source,
    Task,
    payload_length,
)
from workers.parser import parse

_JOB = Task(
    "job-1",
    "/spool/in",
    "/spool/out",
    ("large=1600", "a=9x7/cover-smart@webp+anim:7"),
    10**8,
    30.0,
    2**30,
    truncated=True,
    background="#123",
)
_DONE = Done(
    "job-1",
    Source("heic", 4032, 3024),
    (Made("large", "large.jpg", "jpeg", 1600, 1200), Made("a", "a.webp", "webp", 9, 7)),
    0.14,
    50_000_000,
)
_MESSAGES: list[Message] = [
    _JOB,
    Cancel("job-1"),
    Ready(7, {"rlimits": "on", "landlock": "off: Function not implemented"}),
    _DONE,
    Failed("job-1", "too-slow", "The image took too long."),
]


@pytest.mark.parametrize("message", _MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_survives_the_pipe(message: Message) -> None:
    """A message is read back equal to the one that was sent, with nothing left over."""
    (payload,) = FrameBuffer().feed(message.to_frame())
    assert parse(payload) == message


@given(st.lists(st.sampled_from(_MESSAGES), max_size=6), st.integers(1, 40))
def test_frames_are_found_however_the_pipe_cuts_them(messages: list[Message], step: int) -> None:
    """A read may end anywhere in a frame."""
    stream = b"".join(message.to_frame() for message in messages)
    buffer = FrameBuffer()
    found = [
        parse(payload)
        for start in range(0, len(stream), step)
        for payload in buffer.feed(stream[start : start + step])
    ]
    assert found == messages


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**32 - 1])
def test_a_length_out_of_bounds_is_refused_before_anything_is_held(length: int) -> None:
    """A worker cannot make its parent allocate the length that it announces."""
    prefix = length.to_bytes(LENGTH_BYTES, "big")
    with pytest.raises(ProtocolError):
        payload_length(prefix)
    with pytest.raises(ProtocolError):
        list(FrameBuffer().feed(prefix))


def test_a_message_too_large_for_a_frame_is_not_sent() -> None:
    """The sender gets the error, not the receiver."""
    with pytest.raises(ProtocolError):
        Failed("job-1", "undecodable", "x" * MAX_FRAME).to_frame()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(payload: bytes) -> None:
    """`parse` raises nothing else."""
    _is_message_or_refused(payload)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(_MESSAGES), st.data())
def test_any_change_of_a_field_is_a_message_or_a_protocol_error(
    message: Message, data: st.DataObject
) -> None:
    """With a field of another type, missing or additional, a message is refused or still valid."""
    value: dict[str, Any] = json.loads(message.to_frame()[LENGTH_BYTES:])
    inside = data.draw(
        st.sampled_from([value, value.get("source"), value.get("sandbox"), *value.get("made", [])])
    )
    target = inside if isinstance(inside, dict) else value
    key = data.draw(st.sampled_from(sorted(target)) | st.text(max_size=4))
    target[key] = data.draw(_JSON)
    _is_message_or_refused(json.dumps(value).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "../x"},
        {"id": ""},
        {"id": "x" * 65},
        {"source": "relative"},
        {"source": "/with\0null"},
        {"folder": "/\ud800"},
        {"variants": []},
        {"variants": ["a=1,b=2"]},
        {"variants": ["nonsense"]},
        {"variants": ["a=1", "a=2"]},
        {"variants": "a=1"},
        {"max_pixels": 0},
        {"max_pixels": True},
        {"max_pixels": 1.5},
        {"timeout_s": 0},
        {"timeout_s": "30"},
        {"memory_bytes": -1},
        {"truncated": 1},
        {"type": "kill"},
        {"type": ["job"]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_job_with_a_senseless_field_is_refused(changed: dict[str, object]) -> None:
    """Types, ranges, names and unknown fields are checked."""
    with pytest.raises(ProtocolError):
        parse(json.dumps({"type": "job", **asdict(_JOB), **changed}).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "large", "file": "../large.jpg"},
        {"name": "large", "file": "/etc/passwd"},
        {"name": "large", "file": "medium.jpg"},
        {"name": "large", "file": "large.png"},
        {"name": "..", "file": "...jpg"},
        {"width": 0},
        {"height": 16_385},
        {"format": "svg"},
    ],
    ids=str,
)
def test_a_variant_that_names_another_file_is_refused(changed: dict[str, object]) -> None:
    """A worker cannot make its parent serve a file of its choice."""
    one = {**asdict(_DONE.made[0]), **changed}
    with pytest.raises(ProtocolError):
        parse(json.dumps({"type": "done", **asdict(_DONE), "made": [one]}).encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 60_000,
        b'{"type":' * 9_000,
        b"9" * 60_000,
        b'{"type":NaN}',
        b"\xff\xfe{}",
        b"x" * (MAX_FRAME + 1),
    ],
    ids=["nested lists", "nested objects", "a huge number", "no JSON", "no UTF-8", "too long"],
)
def test_json_that_hurts_is_refused(payload: bytes) -> None:
    """Deeply nested JSON and huge numbers raise nothing but ProtocolError."""
    with pytest.raises(ProtocolError):
        parse(payload)


def test_the_same_variant_twice_is_refused() -> None:
    """Each variant has one file."""
    twice = (_DONE.made[0], _DONE.made[0])
    with pytest.raises(ProtocolError):
        parse(Done("job-1", _DONE.source, twice).to_frame()[LENGTH_BYTES:])


def _is_message_or_refused(payload: bytes) -> None:
    try:
        message = parse(payload)
    except ProtocolError:
        return
    assert isinstance(message, Message)
    (again,) = FrameBuffer().feed(message.to_frame())
    assert parse(again) == message
