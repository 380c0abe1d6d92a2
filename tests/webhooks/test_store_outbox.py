"""The outbox of one machine, on a clock that is set by hand: when it tries, and that it loses nothing."""

import asyncio
from itertools import accumulate

import pytest
from structlog.testing import capture_logs

from app.job import JobStatus
from app.storage.interface import StoreFull
from app.webhooks.delivery import MAX_AT_ONCE, RETRY_DELAYS_S, Answer
from app.webhooks.events import Event, EventType, removal
from tests.webhooks.stand_ins import DAY, Setting

pytestmark = pytest.mark.anyio

MINUTE, HOUR = 60.0, 3600.0


async def test_tries_get_rarer_and_go_on_while_the_image_lives() -> None:
    """After 5 s, 1 min, 5 min, 30 min, 2 h, then every 6 h, under the same id; not after its end."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.usual = Answer(500)
    event = await setting.happen()
    await asyncio.sleep(22 * HOUR)
    delays = [0, 5, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR, 6 * HOUR, 6 * HOUR]
    expected = [at for at in accumulate(delays) if at < 22 * HOUR]
    assert setting.tries(event) == pytest.approx(expected, abs=1)
    del setting.store.records[event.job_id]
    await asyncio.sleep(DAY)
    assert len(setting.tries(event)) == len(expected)
    assert setting.store.events.kept == {}
    snapshot = setting.outbox.snapshot()
    assert (snapshot.pending, snapshot.failed_tries, snapshot.given_up) == (0, len(expected), 1)
    await setting.outbox.stop()


@pytest.mark.parametrize(("said", "waited"), [(2.0, 2.0), (0.0, 1.0), (10**6, 6 * HOUR), (-5.0, 1.0)])
async def test_retry_after_is_honoured_within_bounds(said: float, waited: float) -> None:
    """Of one event only; never less than a second, never more than six hours."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.answers = [Answer(503, said)]
    event = await setting.happen()
    await asyncio.sleep(1e-3)
    other = await setting.happen()
    await asyncio.sleep(7 * HOUR)
    assert setting.tries(event) == pytest.approx([0, waited], abs=0.01)
    assert len(setting.tries(other)) == 1
    await setting.outbox.stop()


async def test_410_ends_that_event_and_no_other() -> None:
    """It is not tried again; the next event is posted as before."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.answers = [Answer(410)]
    gone = await setting.happen()
    await asyncio.sleep(1)
    event = await setting.happen()
    await asyncio.sleep(DAY)
    assert (len(setting.tries(gone)), len(setting.tries(event))) == (1, 1)
    assert setting.outbox.snapshot().given_up == 1
    await setting.outbox.stop()


@pytest.mark.parametrize("answer", [Answer(302), Answer(400), Answer(404), "no answer within 15 s"])
async def test_whatever_is_no_2xx_is_tried_again(answer: Answer | str) -> None:
    """A redirect and a refusal are failures too."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.answers = [answer]
    event = await setting.happen()
    await asyncio.sleep(RETRY_DELAYS_S[0] + 1)
    assert len(setting.tries(event)) == 2
    assert setting.outbox.snapshot().delivered == 1
    await setting.outbox.stop()


async def test_a_receiver_that_is_gone_for_a_day_costs_little_and_misses_nothing() -> None:
    """The breaker lets about one request a minute pass; the log has a begin and an end; then all arrive."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.usual = "connection refused"
    with capture_logs() as lines:
        events = [await setting.happen() for _ in range(3000)]
        await asyncio.sleep(DAY - 1)
        assert len(setting.receiver.posted) < DAY / 60 * 1.1
        setting.receiver.usual = Answer(200)
        setting.receiver.takes_s = 0.01
        await asyncio.sleep(7 * HOUR)
    assert {event.id for event in events} == {event_id for _, event_id in setting.receiver.posted}
    assert setting.store.events.kept == {}
    assert setting.outbox.snapshot().delivered == len(events)
    assert setting.receiver.most_at_once == MAX_AT_ONCE
    outages = [line["event"] for line in lines if line.get("breaker") == "webhook"]
    assert outages == [
        "webhooks are not delivered: circuit breaker opened",
        "webhooks are delivered again: circuit breaker closed",
    ]
    await setting.outbox.stop()


async def test_few_of_many_events_are_in_memory() -> None:
    """What is not indexed is found in the store when there is room, and each is delivered once."""
    setting = Setting(max_indexed=20)
    events = [await setting.happen() for _ in range(500)]
    assert len(setting.outbox._due) == 20
    assert setting.outbox.snapshot().pending == 500
    await setting.outbox.start()
    late = [await setting.happen() for _ in range(50)]
    await asyncio.sleep(10)
    assert sorted(event_id for _, event_id in setting.receiver.posted) == sorted(
        event.id for event in (*events, *late)
    )
    assert setting.outbox.snapshot().pending == 0
    assert setting.store.events.listed < 100
    await setting.outbox.stop()


async def test_a_restart_finds_what_was_kept() -> None:
    """Under the same id, at once, whatever the times of the run before were."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.usual = Answer(500)
    event = await setting.happen()
    await asyncio.sleep(10 * MINUTE)
    await setting.outbox.stop()
    before = len(setting.tries(event))
    setting.receiver.usual = Answer(200)
    setting.restart()
    await setting.outbox.start()
    await asyncio.sleep(1)
    assert len(setting.tries(event)) == before + 1
    assert setting.store.events.kept == {}
    await setting.outbox.stop()


async def test_an_event_that_did_not_happen_is_not_told() -> None:
    """The process died before the record was written: it waits for the job, and ends with it."""
    setting = Setting()
    job = setting.done()
    job.status = JobStatus.QUEUED
    event = Event(EventType.DONE, job.id, job.created_at, setting.now())
    removed = removal(EventType.DELETED, job, setting.now())
    setting.store.events.kept = {each.id: each.to_bytes() for each in (event, removed)}
    await setting.outbox.start()
    await asyncio.sleep(HOUR)
    assert setting.receiver.posted == []
    assert list(setting.store.events.kept) == [event.id]
    job.status = JobStatus.DONE
    await asyncio.sleep(5)
    assert [event_id for _, event_id in setting.receiver.posted] == [event.id]
    await setting.outbox.stop()


async def test_an_event_is_posted_once_though_it_cannot_be_removed() -> None:
    """A store that fails does not make the service post the same again and again."""
    setting = Setting()
    await setting.outbox.start()
    setting.store.events.on_forget = [OSError("read-only")] * 5
    event = await setting.happen()
    await asyncio.sleep(60)
    assert len(setting.tries(event)) == 1
    assert setting.store.events.kept == {}
    await setting.outbox.stop()


async def test_a_full_disk_keeps_outcomes_back_and_removals_not() -> None:
    """A removal makes room, so its event is kept after it; a record would not fit either."""
    setting = Setting()
    await setting.outbox.start()
    setting.store.events.on_keep = [StoreFull("full")]
    with pytest.raises(StoreFull):
        await setting.happen(EventType.DONE)
    setting.store.events.on_keep = [StoreFull("full")]
    event = await setting.happen(EventType.DELETED)
    await asyncio.sleep(1)
    assert len(setting.tries(event)) == 1
    await setting.outbox.stop()


async def test_a_removal_is_told_for_as_long_as_its_image_would_have_lived() -> None:
    """There is no image that could still live: RETENTION bounds it."""
    setting = Setting()
    await setting.outbox.start()
    setting.receiver.usual = Answer(500)
    event = await setting.happen(EventType.EXPIRED)
    await asyncio.sleep(DAY + 7 * HOUR)
    assert setting.tries(event)[-1] > DAY - 7 * HOUR
    assert setting.store.events.kept == {}
    await setting.outbox.stop()


async def test_a_drain_delivers_what_is_due_and_waits_for_nothing_else() -> None:
    """Not for an event that failed, nor for a receiver that does not answer longer than it may."""
    setting = Setting()
    loop = asyncio.get_running_loop()
    await setting.outbox.start()
    setting.receiver.answers = [Answer(503, HOUR)]
    await setting.happen()
    await asyncio.sleep(1)
    setting.receiver.takes_s = 2
    events = [await setting.happen() for _ in range(20)]
    began = loop.time()
    await setting.outbox.drain(60)
    assert 6 <= loop.time() - began < 7
    assert all(setting.tries(event) for event in events)
    setting.receiver.takes_s = 1000
    await setting.happen()
    await setting.outbox.drain(3)
    assert loop.time() - began < 11
    await setting.outbox.stop()
    assert len(setting.store.events.kept) == 2


async def test_beyond_a_bound_events_are_dropped_counted_and_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they would tell of happens all the same; when there is room again, they are kept."""
    monkeypatch.setattr("app.webhooks.store_outbox.MAX_KEPT", 3)
    setting = Setting()
    with capture_logs() as lines:
        for _ in range(5):
            await setting.happen()
    assert [line["event"] for line in lines] == ["webhooks are lost"]
    assert len(setting.store.events.kept) == 3
    await setting.outbox.start()
    await asyncio.sleep(1)
    event = await setting.happen()
    await asyncio.sleep(1)
    assert len(setting.tries(event)) == 1
    snapshot = setting.outbox.snapshot()
    assert (snapshot.delivered, snapshot.dropped, snapshot.pending) == (4, 2, 0)
    await setting.outbox.stop()
