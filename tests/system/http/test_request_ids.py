"""X-Request-Id: every answer has one, the one that was sent where it may be taken."""

import re

import pytest

from tests.service import Answer, Service, fresh_address
from tests.system.http.conftest import ORIGIN

SENT = 'edge/7:"1"'


def answers(tight: Service, *fields: str) -> list[Answer]:
    """One answer of each kind: of an endpoint, of FastAPI, by the head alone, and to what is no request."""
    found = []
    for line in ("GET /v1/quota", "GET /nothing", "POST /v1/images", f"GET /{'x' * 70_000}"):
        address = fresh_address()
        for _ in range(4 if line.startswith("POST") else 1):
            with tight.connect(address) as connection:
                connection.head(line, *fields, "Content-Length: 0", "Content-Type: text/plain")
                answer = connection.answer()
        found.append(answer)
    assert [answer.status for answer in found] == [200, 404, 429, 414]
    return found


def test_an_id_that_is_sent_is_given_back(tight: Service) -> None:
    """Problems have it, too, but for those of what is no request, whose fields were not read."""
    *found, last = answers(tight, f"X-Request-Id: {SENT}")
    for answer in found:
        assert answer.headers["x-request-id"] == SENT
        assert answer.status == 200 or answer.json()["request_id"] == SENT
    assert last.headers["x-request-id"]


@pytest.mark.parametrize("sent", ["", "X-Request-Id: two words", f"X-Request-Id: {'x' * 129}"], ids=len)
def test_one_is_made_where_none_may_be_taken(tight: Service, sent: str) -> None:
    """Each is another one, and problems are as if there were none."""
    found = answers(tight, f"Origin: {ORIGIN}", *filter(None, [sent]))
    ids = {answer.headers["x-request-id"] for answer in found}
    assert len(ids) == len(found)
    assert all(re.fullmatch("[0-9a-f-]{36}", each) for each in ids)
    for answer in found[:-1]:
        assert b"request_id" not in answer.body
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
