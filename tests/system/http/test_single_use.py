"""Single-use tickets: one accepted upload each, whatever happens in between."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import samples
from tests.service import Service, fresh_address, serving, until
from tests.system.http.expect import problem
from tests.tickets import SECRET, bearer

_numbers = itertools.count()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes uploads with tickets."""
    with serving(tmp_path_factory.mktemp("guarded"), upload_keys=f"app:{SECRET}") as service:
        yield service


def once(**claims: object) -> dict[str, str]:
    """The header fields with a new single-use ticket."""
    return bearer(once=True, jti=f"ticket {next(_numbers)}", sub="alice", burst=100, **claims)


def used(answer: httpx.Response) -> bool:
    """Whether an upload was refused because its ticket was used before."""
    return answer.status_code == 401 and "accepted already" in problem(answer, 401, "ticket")["detail"]


def test_a_ticket_is_good_for_one_accepted_upload(guarded: Service) -> None:
    """Another file, and an Idempotency-Key that comes late, change nothing."""
    ticket = once()
    assert guarded.upload(**ticket).status_code == 202
    assert used(guarded.upload(**ticket))
    assert used(guarded.upload(samples.jpeg(65, 48), **ticket))
    assert used(guarded.upload(**ticket, **{"idempotency-key": '"late"'}))


def test_the_same_jti_in_another_ticket_is_the_same_use(guarded: Service) -> None:
    """It is what the issuer names the use by; without `once` it means nothing."""
    jti = f"ticket {next(_numbers)}"
    assert guarded.upload(**bearer(once=True, jti=jti)).status_code == 202
    assert used(guarded.upload(**bearer(once=True, jti=jti, sub="bob")))
    assert guarded.upload(**bearer(jti=jti)).status_code == 202


def test_what_is_not_accepted_uses_nothing(guarded: Service) -> None:
    """A file that is no image leaves the ticket for the next try."""
    ticket = once()
    assert guarded.upload(b"no image", **ticket).status_code == 415
    assert guarded.upload(**ticket).status_code == 202


def test_repeats_under_one_idempotency_key_are_that_upload(guarded: Service) -> None:
    """So a client whose connection broke may ask again; under another key it is another upload."""
    ticket, key = once(), {"idempotency-key": '"mine"'}
    first, again = (guarded.upload(**ticket, **key) for _ in range(2))
    assert (first.status_code, again.status_code in (201, 202)) == (202, True)
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["delete_token"] == first.json()["delete_token"]
    assert guarded.upload(samples.jpeg(65, 48), **ticket, **key).status_code == 422
    assert used(guarded.upload(**ticket, **{"idempotency-key": '"other"'}))
    assert used(guarded.upload(**ticket))


def test_of_twenty_at_once_one_is_accepted(guarded: Service) -> None:
    """The others are told that one is on its way, or that the ticket was used."""
    ticket = once()
    before = guarded.stats()["jobs"]["accepted"]
    addresses = [fresh_address() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda address: guarded.upload(address=address, **ticket), addresses))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(202) == 1
    assert set(statuses) <= {202, 401, 409}
    assert guarded.stats()["jobs"]["accepted"] == before + 1


def test_a_used_ticket_stays_used_when_its_image_is_deleted(guarded: Service) -> None:
    """Else its holder could upload as often as they like."""
    ticket = once()
    document = guarded.upload(**ticket, prefer="wait=20").json()
    with guarded.client() as client:
        token = {"authorization": f"Bearer {document['delete_token']}"}
        assert client.delete(document["links"]["self"], headers=token).status_code == 204
        assert client.get(document["links"]["self"]).status_code == 404
    assert used(guarded.upload(**ticket))
    assert used(guarded.upload(**ticket, **{"idempotency-key": '"new"'}))


def test_a_used_ticket_stays_used_after_kill_9(tmp_path: Path) -> None:
    """Whether its image is still to be made, was deleted, or has expired."""
    kept, deleted = once(exp=int(time.time()) + 3600), once(exp=int(time.time()) + 3600)
    with serving(tmp_path, upload_keys=f"app:{SECRET}", retention="1s") as service:
        document = service.upload(**deleted).json()
        with service.client() as client:
            token = {"authorization": f"Bearer {document['delete_token']}"}
            assert client.delete(document["links"]["self"], headers=token).status_code == 204
        image = service.upload(**kept).json()["links"]["self"]
        for _ in range(2):
            service.kill()
            service.start()
            for ticket in (kept, deleted):
                assert used(service.upload(**ticket))
            until(lambda: service.get(image).status == 404, "the image to expire")
