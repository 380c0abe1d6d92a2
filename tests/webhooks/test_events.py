"""Which events a change of a record makes, their ids, and when one is to be told."""

from dataclasses import replace

import pytest

from app.job import Job, JobStatus, new_id
from app.webhooks.events import Event, EventType, Standing, changes, removal

QUEUED = Job(new_id(), 1000.0, 10, ())
DEFERRED = replace(QUEUED, status=JobStatus.DONE, finished_at=1001.0, deferred=("large=1600",))
DONE = replace(QUEUED, status=JobStatus.DONE, finished_at=1001.0, completed_at=1001.0)
FAILED = replace(QUEUED, status=JobStatus.FAILED, finished_at=1001.0, problem=("undecodable", "no"))
REUSED = replace(QUEUED, created_at=2000.0)
D, C, F = EventType.DONE, EventType.COMPLETED, EventType.FAILED


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (QUEUED, DONE, [D, C]),
        (QUEUED, DEFERRED, [D]),
        (DEFERRED, DONE, [C]),
        (DEFERRED, DEFERRED, []),
        (QUEUED, FAILED, [F]),
        (QUEUED, replace(QUEUED, deaths=1), []),
        (DEFERRED, replace(DONE, problem=("too-slow", "a deferred variant")), [C]),
    ],
)
def test_each_event_comes_once_with_the_change_that_makes_it_true(
    before: Job, after: Job, kinds: list[EventType]
) -> None:
    """Completed comes with done unless variants are deferred."""
    assert [event.type for event in changes(before, after, 1001.0)] == kinds


@pytest.mark.parametrize(
    ("kind", "record", "standing"),
    [
        (D, DONE, Standing.TRUE),
        (D, DEFERRED, Standing.TRUE),
        (D, QUEUED, Standing.NOT_YET),
        (D, FAILED, Standing.OVER),
        (D, None, Standing.OVER),
        (D, REUSED, Standing.OVER),
        (C, DEFERRED, Standing.NOT_YET),
        (C, DONE, Standing.TRUE),
        (F, FAILED, Standing.TRUE),
        (F, DONE, Standing.OVER),
        (F, DEFERRED, Standing.NOT_YET),
        (EventType.DELETED, None, Standing.TRUE),
        (EventType.DELETED, REUSED, Standing.TRUE),
        (EventType.DELETED, DONE, Standing.NOT_YET),
        (EventType.EXPIRED, None, Standing.TRUE),
    ],
)
def test_an_event_is_told_if_the_record_says_so(
    kind: EventType, record: Job | None, standing: Standing
) -> None:
    """A record with the same id and another date is that of a later job."""
    assert Event(kind, QUEUED.id, QUEUED.created_at, 1001.0).standing(record, 1002.0) is standing


def test_a_removal_that_did_not_take_place_is_not_expected_for_ever() -> None:
    """A minute later the record is still there."""
    assert removal(EventType.DELETED, DONE, 1001.0).standing(DONE, 1100.0) is Standing.OVER


def test_an_id_is_that_of_the_event_and_of_nothing_else() -> None:
    """The same after it was kept and read again; another for another event, run, and later job of the id."""
    events = [Event(kind, job.id, job.created_at, 5.0) for kind in (D, C, F) for job in (QUEUED, REUSED)]
    events += [Event(C, QUEUED.id, QUEUED.created_at, 5.0, reopened=run) for run in (1, 2)]
    events += [removal(EventType.DELETED, job, 5.0) for job in (QUEUED, REUSED)]
    assert len({event.id for event in events}) == len(events)
    for event in events:
        assert Event.from_bytes(event.to_bytes()) == event
        assert replace(event, at=6.0).id == event.id
        assert event.id.replace("_", "").isalnum()


def test_a_damaged_event_is_recognised() -> None:
    """Whatever is wrong is a ValueError."""
    for data in (b"", b"{}", b"[]", b'{"type":"image.gone"}', b'{"type":"image.deleted"}', b"\xff"):
        with pytest.raises(ValueError, match=r".+"):
            Event.from_bytes(data)
