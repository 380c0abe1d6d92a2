"""Uploads that are kept for their owner, and variants that are made of them later."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests import samples
from tests.service import SMALL, Service, fresh_address, serving, until
from tests.system.http.expect import QUOTA_EXCEEDED, REDUCED_CAPACITY, limits, problem

PHOTO = samples.jpeg(400, 300, gps=True)


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that keeps originals, and images for good."""
    settings: dict[str, Any] = {"keep_original": "true", "retention": "inf", "queue_size": 2}
    with serving(tmp_path_factory.mktemp("keeping"), **settings) as service:
        yield service


def bearer(document: Any) -> dict[str, str]:
    """What proves that an image is one's own."""
    return {"authorization": f"Bearer {document['delete_token']}"}


def uploaded(
    service: Service, query: str = "?variants=thumb", data: bytes = PHOTO, name: str = "me.jpg"
) -> Any:
    """The document of a photo of which some variants are made."""
    with service.client() as client:
        answer = client.post(
            f"/v1/images{query}", files={"file": (name, data)}, headers={"prefer": "wait=20"}
        )
    assert answer.status_code == 201, answer.text
    return answer.json()


def more(
    service: Service, document: Any, names: str, address: str | None = None, **headers: str
) -> httpx.Response:
    """Ask for more variants of an image."""
    with service.client(address) as client:
        path = f"{document['links']['self']}/variants?variants={names}"
        return client.post(path, headers=bearer(document) | headers)


class TestOriginal:
    """GET /v1/images/{id}/original."""

    def test_is_the_upload_as_it_came(self, keeping: Service) -> None:
        """Every byte, under its own name and type, for nobody's cache; with ranges, HEAD and conditions."""
        document = uploaded(keeping, name='Grün "1".jpg')
        path, owner = f"{document['links']['self']}/original", bearer(document)
        with keeping.client() as client:
            answer = client.get(path, headers=owner)
            assert (answer.status_code, answer.content) == (200, PHOTO)
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.headers["cache-control"] == "private, no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["etag"] == f'"{document["source"]["sha256"]}"'
            names = "filename=\"Gr_n _1_.jpg\"; filename*=UTF-8''Gr%C3%BCn%20%221%22.jpg"
            assert answer.headers["content-disposition"] == f"attachment; {names}"
            head = client.head(path, headers=owner)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(PHOTO)))
            part = client.get(path, headers=owner | {"range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, PHOTO[10:20])
            same = client.get(path, headers=owner | {"if-none-match": answer.headers["etag"]})
            assert same.status_code == 304
            thumb = client.get(document["variants"]["thumb"]["url"])
            assert thumb.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert samples.SECRET not in thumb.content

    def test_is_its_owner_s_alone(self, keeping: Service) -> None:
        """401 without a token, 403 with another; and nothing is said of an id that is none."""
        document, other = uploaded(keeping), uploaded(keeping)
        with keeping.client() as client:
            for method, path in (("GET", "original"), ("HEAD", "original"), ("POST", "variants")):
                url = f"{document['links']['self']}/{path}"
                answers = [client.request(method, url, headers=each) for each in ({}, bearer(other))]
                assert [answer.status_code for answer in answers] == [401, 403]
                assert answers[0].headers["www-authenticate"] == "Bearer"
            nowhere = "/v1/images/" + "0" * 32 + "/original"
            problem(client.get(nowhere, headers=bearer(other)), 404, "not-found")

    def test_is_there_from_the_beginning_and_goes_with_a_failed_job(self, keeping: Service) -> None:
        """While its job waits, with the type of its first bytes; 404 when it failed, and no file stays."""
        with keeping.paused():
            waiting = keeping.upload(samples.png()).json()
            with keeping.client() as client:
                url = f"{waiting['links']['self']}/original"
                answer = client.get(url, headers=bearer(waiting))
            assert (answer.status_code, answer.content) == (200, samples.png())
            assert answer.headers["content-type"] == "image/png"
            assert answer.headers["content-disposition"] == 'attachment; filename="original.png"'
        failed = keeping.upload(SMALL[:300]).json()
        keeping.ended(failed["id"])
        keeping.settled()
        with keeping.client() as client:
            for method, path in (("GET", "original"), ("POST", "variants?variants=thumb")):
                url = f"{failed['links']['self']}/{path}"
                problem(client.request(method, url, headers=bearer(failed)), 404, "not-found")
        files = {name for name in keeping.stored() if failed["id"] in name}
        assert files == {f"images/{failed['id'][:2]}/{failed['id']}/job.json"}

    def test_is_deleted_with_its_image(self, keeping: Service) -> None:
        """No file is left, and the bytes are not counted any more."""
        before = keeping.settled()["store_bytes"]
        document = uploaded(keeping)
        assert keeping.stats()["store_bytes"] > before + len(PHOTO)
        with keeping.client() as client:
            assert client.delete(document["links"]["self"], headers=bearer(document)).status_code == 204
            url = f"{document['links']['self']}/original"
            problem(client.get(url, headers=bearer(document)), 404, "not-found")
        assert not [name for name in keeping.stored() if document["id"] in name]
        assert keeping.settled()["store_bytes"] == before

    def test_is_not_kept_by_default(self, service: Service) -> None:
        """404, for the original and for more variants; not for those that are there."""
        document = uploaded(service)
        with service.client() as client:
            url = f"{document['links']['self']}/original"
            problem(client.get(url, headers=bearer(document)), 404, "not-found")
        problem(more(service, document, "small"), 404, "not-found")
        assert more(service, document, "thumb").status_code == 200
        assert not [name for name in service.stored() if name.endswith(f"{document['id']}/original")]


class TestMoreVariants:
    """POST /v1/images/{id}/variants."""

    def test_are_made_of_the_original(self, keeping: Service) -> None:
        """202 with what is deferred; then they are there beside the others. `finished_at` stays."""
        document = uploaded(keeping)
        with keeping.paused():
            answer = more(keeping, document, "thumb,small,medium")
            assert answer.status_code == 202
            assert answer.headers["location"] == document["links"]["self"]
            assert limits(answer.headers)[0]["ip"]["q"] == 10
            promised = answer.json()
            assert (promised["status"], promised["deferred"]) == ("done", ["medium", "small"])
            assert promised["completed_at"] is promised["expires_at"] is None
            assert "delete_token" not in promised
            problem(keeping.get(f"{document['links']['self']}/small"), 404, "not-ready")
            assert more(keeping, document, "small").status_code == 202, "it is on its way"
            problem(more(keeping, document, "large"), 409, "under-way")
        after = until(
            lambda: (d := keeping.get(document["links"]["self"]).json())["completed_at"] and d, "completion"
        )
        assert set(after["variants"]) == {"thumb", "small", "medium"}
        assert (after["deferred"], after["finished_at"]) == ([], document["finished_at"])
        assert after["completed_at"] > document["completed_at"]
        assert after["variants"]["thumb"] == document["variants"]["thumb"]
        assert after["url"] == after["variants"]["medium"]["url"]
        nothing = more(keeping, document, "small,thumb")
        assert (nothing.status_code, nothing.json()) == (200, after)
        stats = keeping.settled()["jobs"]
        assert stats["accepted"] == stats["done"] + stats["failed"] + stats["cancelled"]

    def test_can_be_waited_for(self, keeping: Service) -> None:
        """201 with all that are configured, where none are named; unknown ones are 400."""
        document = uploaded(keeping)
        problem(more(keeping, document, "huge"), 400, "unknown-variant")
        with keeping.client() as client:
            answer = client.post(
                f"{document['links']['self']}/variants", headers=bearer(document) | {"prefer": "wait=20"}
            )
        assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=20")
        assert set(answer.json()["variants"]) == {"large", "medium", "small", "thumb"}

    def test_are_not_waited_for_by_who_waits_too_often(self, keeping: Service) -> None:
        """202 at once, which says that the preference was not applied."""
        document, address = uploaded(keeping), fresh_address()
        with keeping.paused(), ExitStack() as stack:
            waited_for = keeping.upload().json()["links"]["self"]
            for _ in range(16):
                stack.enter_context(keeping.connect(address)).head(f"GET {waited_for}", "Prefer: wait=20")
            client = stack.enter_context(keeping.client(address))

            def refused() -> bool:
                return client.get(waited_for, headers={"prefer": "wait=0"}).status_code == 503

            until(refused, "all of them to be counted")
            answer = more(keeping, document, "small", address, prefer="wait=20")
        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers
        keeping.settled()

    def test_pass_the_same_guards_as_uploads(self, keeping: Service) -> None:
        """503 where the queue is full, 429 where the bucket is empty; and the job is what it was."""
        document, address = uploaded(keeping), fresh_address()
        with keeping.paused():
            for _ in range(2):
                assert keeping.upload().status_code == 202
            problem(more(keeping, document, "small", address), 503, REDUCED_CAPACITY, guard="queue")
            while (answer := more(keeping, document, "small", address)).status_code == 503:
                pass
            problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
            assert keeping.get(document["links"]["self"]).json()["deferred"] == []
        keeping.settled()
        assert more(keeping, document, "small", prefer="wait=20").status_code == 201

    def test_survive_kill_9(self, keeping: Service) -> None:
        """Those that were promised are made after a restart, once, of the original, which is kept again."""
        document = uploaded(keeping)
        with keeping.paused():
            assert more(keeping, document, "small").status_code == 202
            keeping.kill()
        keeping.start()
        after = until(
            lambda: (d := keeping.get(document["links"]["self"]).json())["completed_at"] and d, "completion"
        )
        assert set(after["variants"]) == {"thumb", "small"}
        keeping.settled()
        home = f"images/{document['id'][:2]}/{document['id']}"
        kept = {name for name in keeping.stored() if name.startswith(home)}
        assert kept == {f"{home}/{name}" for name in ("job.json", "thumb.jpg", "small.jpg", "original")}

    def test_that_fail_leave_the_others(self, keeping: Service) -> None:
        """The problem is in the document, and answers a client that waits; a further attempt may succeed."""
        document = uploaded(keeping)
        home = keeping.store / "images" / document["id"][:2] / document["id"]
        whole = (home / "original").read_bytes()
        (home / "original").write_bytes(bytes(len(whole)))
        failed = more(keeping, document, "small", prefer="wait=20")
        assert problem(failed, 422, "undecodable")["job"]["status"] == "done"
        assert keeping.get(document["variants"]["thumb"]["url"]).status == 200
        keeping.settled()
        (home / "original").write_bytes(whole)
        again = more(keeping, document, "small", prefer="wait=20")
        assert (again.status_code, "problem" in again.json()) == (201, False)
