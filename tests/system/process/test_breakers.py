"""A circuit breaker opens when a part keeps failing, says for how long, and closes again."""

import math

import httpx

from app.server.problems import REDUCED_CAPACITY
from tests.conftest import Start
from tests.service import fresh_address, until
from tests.system.http.expect import problem


class TestStore:
    """The folder of the images cannot be written."""

    def test_uploads_are_refused_while_it_fails_and_taken_when_it_works(self, start: Start) -> None:
        """Each refusal says when the store is tried again; one successful probe closes the breaker."""
        service = start(rate=1000, burst=1000)
        made = service.upload(prefer="wait=20").json()
        images = service.store / "images"
        away = images.rename(images.with_name("away"))
        images.touch()
        answers = [service.upload() for _ in range(6)]
        assert {answer.status_code for answer in answers} == {503}
        first = answers[0].json()
        assert (first["guard"], first["breaker"]) == ("breaker", "store")
        assert first["detail"] == "A part of the service is failing (store); ask again in 1.0 s."
        address = fresh_address()

        def open_while_looked_at() -> httpx.Response | None:
            """The breaker is open for 1 s at first, then 2, 4, …; a busy machine may need more than one."""
            answer = service.upload(address=address)
            shown = service.stats()["breakers"]["store"], service.get("/readyz").status
            return answer if shown == ("open", 503) else None

        answer = until(open_while_looked_at, "the breaker to be open")
        refused = problem(answer, 503, REDUCED_CAPACITY, guard="breaker")
        assert refused["breaker"] == "store"
        assert 0 < refused["retry_after_ms"] <= 60_000
        assert int(answer.headers["retry-after"]) == math.ceil(refused["retry_after_ms"] / 1000)
        assert service.get("/healthz").status == 200
        images.unlink()
        away.rename(images)
        assert service.ended(service.taken().json()["id"])["status"] == "done"
        assert service.stats()["breakers"] == {"workers": "closed", "store": "closed"}
        assert service.get(made["variants"]["thumb"]["url"]).status == 200
        assert service.stats()["backlog"]["receiving"] == 0
        log = service.errors()
        assert log.count("the store does not work: circuit breaker opened") == 1
        assert log.count("the store works again: circuit breaker closed") == 1
