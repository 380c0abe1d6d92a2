"""Webhooks of a whole service: what is posted, when, and what happens to it when somebody dies."""

import base64
import hashlib
import hmac
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.openapi_webhooks import WebhookDocument
from tests import samples
from tests.conftest import Start
from tests.service import COMMAND, Service, environment, fresh_address, run, serving, until
from tests.webhooks.receiver import OTHER_SECRET, SECRET, Receiver, post_signed, receiving

ALL = "image.done,image.completed,image.failed,image.deleted,image.expired"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """One for all tests of the module."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that posts every event, signed with two secrets."""
    with serving(
        tmp_path_factory.mktemp("service"),
        variants="thumb=16",
        webhook_url=receiver.url,
        webhook_secret=f"{SECRET} {OTHER_SECRET}",
        webhook_events=ALL,
    ) as service:
        yield service


def test_a_finished_image_is_told_signed_and_without_its_delete_token(
    service: Service, receiver: Receiver
) -> None:
    """Both events come at once, with the job document, and either secret verifies them."""
    document = service.upload(prefer="wait=20").json()
    receiver.waits_for(lambda: len(receiver.of(document["id"])) == 2, "two events")
    assert sorted(receiver.types_of(document["id"])) == ["image.completed", "image.done"]
    current = service.get(document["links"]["self"]).json()
    for each in receiver.of(document["id"]):
        assert each.path == "/hooks"
        assert each.headers["content-type"] == "application/json"
        assert each.verified(SECRET) == each.verified(OTHER_SECRET) == each.payload
        assert each.payload["data"] == current
        WebhookDocument.model_validate(each.payload)
        assert each.payload["timestamp"] == current["finished_at"]
        assert document["delete_token"].encode() not in each.body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{each.id}.{each.headers['webhook-timestamp']}.".encode() + each.body
        by_hand = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert each.headers["webhook-signature"].split()[0] == f"v1,{by_hand}"
    assert len({each.id for each in receiver.of(document["id"])}) == 2
    described = service.get("/openapi.json").json()
    assert sorted(described["webhooks"]) == sorted(ALL.split(","))
    schema = described["components"]["schemas"]["WebhookDocument"]
    assert schema["properties"]["data"] == {"$ref": "#/components/schemas/JobDocument"}


def test_a_failed_a_deleted_and_a_cancelled_image_are_told(service: Service, receiver: Receiver) -> None:
    """A failure has its problem; what its owner removes is told as it last was."""
    failed = service.upload(samples.jpeg(64, 48)[:300]).json()
    receiver.waits_for(lambda: receiver.types_of(failed["id"]) == ["image.failed"], "the failure")
    assert receiver.of(failed["id"])[0].payload["data"]["problem"]["type"] == "/problems/undecodable"
    done = service.upload(prefer="wait=20").json()
    with service.paused():
        waiting = service.upload().json()
        for document in (done, waiting):
            fields = {"authorization": f"Bearer {document['delete_token']}"}
            with service.client() as client:
                assert client.delete(document["links"]["self"], headers=fields).status_code == 204
    for document, status in ((done, "done"), (waiting, "cancelled")):
        receiver.waits_for(lambda: "image.deleted" in receiver.types_of(document["id"]), "the removal")  # noqa: B023
        (told,) = [each for each in receiver.of(document["id"]) if each.type == "image.deleted"]
        assert told.payload["data"]["status"] == status


def test_the_receiver_for_trials_prints_what_is_signed(tmp_path: Path) -> None:
    """A line for each webhook; what is signed with another secret, or not at all, is refused."""
    environ = environment(webhook_secret=f"{OTHER_SECRET} {SECRET}")
    command = [COMMAND, "webhook-receiver", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = re.findall(r"http://\S+", process.stdout.readline())[0]
            assert post_signed(url, "image.done", "abc") == 204
            line = process.stdout.readline()
            assert " image.done " in line
            assert '"image": "abc"' in line
            assert "order 7" in line
            assert httpx.post(url, content=b"{}", headers={"webhook-id": "msg_1"}).status_code == 401
            assert process.stdout.readline().startswith("refused")
        finally:
            process.terminate()
    assert process.returncode == 0
    for bad in ("", "whsec_short"):
        refused = run("webhook-receiver", folder=tmp_path, webhook_secret=bad)
        assert refused.returncode == 2
        assert refused.stderr.startswith("spillway: ")


def test_an_upload_cannot_name_a_receiver(service: Service, receiver: Receiver) -> None:
    """Neither a field of the head, of the query nor of a form makes the service post anywhere else."""
    with receiving() as other, service.client() as client:
        answer = client.post(
            f"/v1/images?webhook_url={other.url}&callback={other.url}",
            files={"file": ("photo.jpg", samples.jpeg(64, 48), "image/jpeg")},
            data={"webhook_url": other.url, "callback_url": other.url},
            headers={"webhook-url": other.url, "x-callback-url": other.url, "prefer": "wait=20"},
        )
        receiver.waits_for(lambda: len(receiver.of(answer.json()["id"])) == 2, "two events")
        assert not other.received


def test_a_receiver_that_hangs_costs_uploads_nothing_and_loses_nothing(
    receiver: Receiver, start: Start
) -> None:
    """Not when the service is killed with requests under way either; the next tries have the same ids.

    The images that are over when it starts again are told too.
    """
    service = start(
        variants="thumb=16", webhook_url=receiver.url, webhook_secret=SECRET, webhook_events=ALL, burst=100
    )
    address = fresh_address()
    receiver.hang.set()
    jobs = [service.upload(address=address, prefer="wait=20").json()["id"] for _ in range(6)]
    receiver.waits_for(lambda: sum(len(receiver.of(job)) for job in jobs) == 8, "eight requests at once")
    stats = service.stats()
    assert (stats["webhook"]["pending"], stats["webhook"]["delivered"]) == (12, 0)
    assert stats["webhook"]["oldest_age_s"] >= 0
    assert stats["breakers"]["webhook"] == "closed"
    assert service.get("/readyz").status == 200
    tried = {each.id for job in jobs for each in receiver.of(job)}
    service.kill()
    receiver.hang.clear()
    receiver.replies = [(500, {"Retry-After": "1"}), (302, {"Location": receiver.url, "Retry-After": "1"})]
    service.start()
    until(lambda: service.stats()["webhook"]["delivered"] == 12, "all events", show=service.stats)
    told = [each for job in jobs for each in receiver.of(job)]
    assert len({each.id for each in told}) == 12
    assert len(told) == 8 + 2 + 12
    assert tried <= {each.id for each in told}
    metrics = service.get("/metrics").body.decode()
    assert 'spillway_webhooks_total{outcome="delivered"} 12.0' in metrics
    assert "spillway_webhook_failed_tries_total 2.0" in metrics
    assert service.stop() == 0
    service._settings["retention"] = 1
    service.start()
    for job in jobs:
        receiver.waits_for(lambda: "image.expired" in receiver.types_of(job), "the expiry")  # noqa: B023
    assert {each.payload["data"]["status"] for job in jobs for each in receiver.of(job)} == {"done"}
    assert service.stop() == 0
