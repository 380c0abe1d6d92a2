"""What the Python client does with each answer, with time and answers handed in."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from spillway_client import GaveUp, Gone, Image, JobFailed, Photo, Refused, Upload
from spillway_client.flows import Flow, Flows, Pause, Send
from spillway_client.pacing import Pacer

JOB = {"id": "1" * 32, "status": "queued", "variants": {}, "deferred": [], "delete_token": "secret"}
UPLOAD = Upload(Photo("cat.jpg", b"bytes"), variants=("thumb",))


class Clock:
    """A clock that goes on by what is waited."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answer(status: int, document: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document or {}, headers=fields)


def drive(
    flow: Flow[Any], clock: Clock, answers: list[httpx.Response | Exception]
) -> tuple[Any, list[Send], list[float]]:
    """Run a flow against these answers; its result, what it sent, and how long it paused each time."""
    sent: list[Send] = []
    pauses: list[float] = []
    step = next(flow)
    try:
        while True:
            if isinstance(step, Pause):
                clock.now += step.seconds
                pauses.append(step.seconds)
                step = flow.send(None)
                continue
            sent.append(step)
            given = answers.pop(0)
            step = flow.throw(given) if isinstance(given, Exception) else flow.send(given)
    except StopIteration as end:
        return end.value, sent, [pause for pause in pauses if pause]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flows(clock: Clock) -> Flows:
    return Flows(60, clock=clock)


def test_an_upload_comes_back_when_it_is_told_to_under_the_same_key(flows: Flows, clock: Clock) -> None:
    """A refusal with a Retry-After is an appointment; the service recognises who comes back."""
    answers = [answer(503, {"guard": "queue"}, retry_after="7"), answer(202, JOB)]
    image, sent, pauses = drive(flows.upload(UPLOAD), clock, answers)
    assert image == Image(JOB["id"], "queued", {}, (), "secret", JOB)
    assert pauses == [7]
    assert {each.headers["Idempotency-Key"] for each in sent} == {f'"{UPLOAD.key}"'}
    assert [each.params for each in sent] == [{"variants": "thumb"}] * 2


@pytest.mark.parametrize(
    "failure", [httpx.ReadError("reset"), httpx.ConnectError("refused"), answer(409), answer(502)]
)
def test_an_upload_whose_fate_is_unknown_is_sent_again_after_growing_pauses(
    flows: Flows, clock: Clock, failure: httpx.Response | Exception
) -> None:
    """A lost connection, a gateway's error, and an earlier try that is still on its way."""
    _, sent, pauses = drive(flows.upload(UPLOAD), clock, [failure, failure, failure, answer(201, JOB)])
    assert pauses == [0.5, 1, 2]
    assert len({each.headers["Idempotency-Key"] for each in sent}) == 1


@pytest.mark.parametrize(("status", "kind"), [(415, Refused), (413, Refused), (401, Refused), (404, Gone)])
def test_what_would_be_refused_again_is_not_sent_again(
    flows: Flows, clock: Clock, status: int, kind: type[Refused]
) -> None:
    """The caller gets the service's own words."""
    with pytest.raises(kind, match="why not") as refusal:
        drive(flows.upload(UPLOAD), clock, [answer(status, {"detail": "why not"})])
    assert refusal.value.status == status


def test_a_client_gives_up_rather_than_wait_beyond_its_patience(flows: Flows, clock: Clock) -> None:
    """It says so at once, since waiting longer than it may would be in vain."""
    full = answer(503, {"guard": "queue", "detail": "The queue is full."}, retry_after="40")
    with pytest.raises(GaveUp, match="after 60 s: The queue is full"):
        drive(flows.upload(UPLOAD), clock, [full, full])
    assert clock.now == 1040


def test_a_job_is_asked_for_until_it_is_decided(flows: Flows, clock: Clock) -> None:
    """Each question is held by the service; the delete token is that of the upload."""
    image = Image.from_document(JOB)
    done = {key: value for key, value in JOB.items() if key != "delete_token"} | {"status": "done"}
    ended, sent, pauses = drive(flows.wait(image), clock, [answer(200, JOB), answer(200, done)])
    assert (ended.status, ended.delete_token, pauses) == ("done", "secret", [])
    assert [each.headers for each in sent] == [{"Prefer": "wait=20"}] * 2


def test_a_job_that_failed_says_why(flows: Flows, clock: Clock) -> None:
    """The reason is the problem of the job's document."""
    failed = JOB | {"status": "failed", "problem": {"detail": "It is not an image."}}
    with pytest.raises(JobFailed, match="not an image"):
        drive(flows.wait(Image.from_document(JOB)), clock, [answer(200, failed)])


def test_an_image_that_is_gone_is_deleted_already(flows: Flows, clock: Clock) -> None:
    """So a deletion whose answer was lost can be repeated."""
    drive(flows.delete(Image.from_document(JOB)), clock, [httpx.ReadError("reset"), answer(404)])


def test_each_upload_gets_a_fresh_ticket_for_each_try(clock: Clock) -> None:
    """A ticket may have expired while its upload waited."""
    tickets = iter(["one", "two"])
    flows = Flows(60, ticket=lambda: next(tickets), clock=clock)
    answers = [answer(503, {}, retry_after="1"), answer(202, JOB)]
    _, sent, _ = drive(flows.upload(UPLOAD), clock, answers)
    assert [each.headers["Authorization"] for each in sent] == ["Bearer one", "Bearer two"]


def test_uploads_that_wait_for_tokens_get_a_moment_each(clock: Clock) -> None:
    """A bucket of 10 that fills in 5 s gives a token every half second."""
    pacer = Pacer(clock)
    assert pacer.reserve() == 0
    pacer.learn(answer(202, **{"RateLimit-Policy": '"ip";q=10;w=5', "RateLimit": '"ip";r=0;t=1'}))
    assert [pacer.reserve() for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]
    clock.now += 3
    assert pacer.reserve() == 0


@pytest.mark.parametrize("fields", [{}, {"RateLimit": "?", "RateLimit-Policy": '"ip";q=0;w=0'}])
def test_a_service_that_tells_nothing_of_its_rate_is_not_waited_for(
    clock: Clock, fields: dict[str, str]
) -> None:
    """Then its refusals alone say when to come back."""
    pacer: Pacer = Pacer(clock)
    learn: Callable[[httpx.Response], None] = pacer.learn
    learn(answer(202, **fields))
    assert pacer.reserve() == 0
