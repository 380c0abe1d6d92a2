"""A part that fails is not asked again and again: the breaker opens, says for how long, and closes."""

import math

import httpx

from app.server.problems import REDUCED_CAPACITY
from tests.conftest import Start
from tests.service import fresh_address, until
from tests.system.http.expect import problem


class TestStore:
    """The folder of the images is out of the way."""

    def test_uploads_are_refused_while_it_fails_and_taken_when_it_works(self, start: Start) -> None:
        """Each is told when it is tried again, the sixth before its body is read; one probe ends it."""
        service = start(rate=1000, burst=1000)
        made = service.upload(prefer="wait=20").json()
        images = service.store / "images"
        away = images.rename(images.with_name("away"))
        images.touch()
        answers = [service.upload() for _ in range(6)]
        assert {answer.status_code for answer in answers} == {503}
        address = fresh_address()

        def open_while_looked_at() -> httpx.Response | None:
            """It is for a second at first, then for two, four, and a busy machine may need more than one."""
            answer = service.upload(address=address)
            shown = service.stats()["breakers"]["store"], service.get("/readyz").status
            return answer if shown == ("open", 503) else None

        answer = until(open_while_looked_at, "the breaker to be open")
        refused = problem(answer, 503, REDUCED_CAPACITY, guard="breaker")
        assert 0 < refused["retry_after_ms"] <= 60_000
        assert int(answer.headers["retry-after"]) == math.ceil(refused["retry_after_ms"] / 1000)
        assert service.get("/healthz").status == 200
        images.unlink()
        away.rename(images)
        assert service.ended(service.taken().json()["id"])["status"] == "done"
        assert service.stats()["breakers"] == {"workers": "closed", "store": "closed"}
        assert service.get(made["variants"]["thumb"]["url"]).status == 200
        assert service.stats()["backlog"]["receiving"] == 0
