"""Server-sent events of a job and of the whole service, and the bound on everything that is held open."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests import samples
from tests.service import Connection, Service, fresh_address, until
from tests.system.http.expect import REDUCED_CAPACITY, problem


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    id: str | None
    data: Any


def open_stream(connection: Connection, path: str, *fields: str) -> Iterator[Event]:
    """Ask for a stream; its events as they come."""
    connection.head(f"GET {path}", "Accept: text/event-stream", "Connection: close", *fields)
    lines = connection.lines()
    assert next(lines) == "HTTP/1.1 200 OK\r"
    head = {}
    for line in lines:
        if line == "\r":
            break
        name, _, value = line.strip().partition(": ")
        head[name.lower()] = value
    assert head["content-type"].startswith("text/event-stream")
    assert head["cache-control"] == "no-store"
    return _events(_unchunked(lines))


def _unchunked(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.endswith("\r"):
            yield line


def _events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
            fields = {}


class TestJobEvents:
    """What happens to a job, as it happens."""

    def test_whole_life(self, service: Service) -> None:
        """Queued, processing, each variant, done: in order, each with the document, and then the end."""
        with service.paused():
            document = service.upload(samples.jpeg(400, 300)).json()
            connection = service.connect()
            events = open_stream(connection, document["links"]["events"])
            first = next(events)
            assert first.name == "queued"
            assert first.data["position"] == 1
        with connection:
            rest = list(events)
        names = [event.name for event in rest if event.name != "queued"]
        assert names == ["processing", *["variant"] * 4, "done"]
        assert all(event.id for event in [first, *rest])
        variants = [len(event.data["variants"]) for event in rest if event.name == "variant"]
        assert variants == sorted(variants)
        assert variants[-1] == 4
        assert rest[-1].data["status"] == "done"
        assert "delete_token" not in rest[-1].data
        with service.client() as client:
            assert rest[-1].data == client.get(document["links"]["self"]).json()
        assert len({event.id for event in rest if event.name != "queued"}) == len(names)

    def test_reconnection_after_the_end(self, service: Service) -> None:
        """The last id gets 204, so that a browser stops; an earlier one gets the end once more."""
        document = service.upload(prefer="wait=20").json()
        events = document["links"]["events"]
        with service.connect() as connection:
            (last,) = open_stream(connection, events)
        assert last.name == "done"
        with service.client() as client:
            answer = client.get(events, headers={"last-event-id": last.id or ""})
            assert (answer.status_code, answer.content) == (204, b"")
        with service.connect() as connection:
            again = list(open_stream(connection, events, "Last-Event-ID: queued.0"))
        assert again == [last]

    def test_failure(self, service: Service) -> None:
        """A job that fails says so, with its problem, and the stream ends."""
        with service.paused():
            document = service.upload(samples.bomb_gif()).json()
            connection = service.connect()
            events = open_stream(connection, document["links"]["events"])
            next(events)
        with connection:
            *_, last = events
        assert last.name == "failed"
        assert last.data["problem"]["status"] == 422

    def test_cancellation(self, service: Service) -> None:
        """The stream of a job that is deleted gets `cancelled`, and ends."""
        with service.paused(), service.client() as client, service.connect() as connection:
            document = service.upload().json()
            events = open_stream(connection, document["links"]["events"])
            next(events)
            fields = {"authorization": f"Bearer {document['delete_token']}"}
            assert client.delete(document["links"]["self"], headers=fields).status_code == 204
            rest = list(events)
            assert rest[-1].name == "cancelled"
            assert rest[-1].data["status"] == "cancelled"

    def test_position_in_the_queue(self, service: Service) -> None:
        """There is an event when the position of a queued job has changed."""
        with service.paused(), service.client() as client, service.connect() as connection:
            ahead, document = service.upload().json(), service.upload().json()
            events = open_stream(connection, document["links"]["events"])
            assert next(events).data["position"] == 2
            fields = {"authorization": f"Bearer {ahead['delete_token']}"}
            client.delete(ahead["links"]["self"], headers=fields)
            assert next(events).data["position"] == 1


class TestStats:
    """The whole state as a stream."""

    def test_goes_on(self, service: Service) -> None:
        """A snapshot at once, then one about every second."""
        with service.connect() as connection:
            events = open_stream(connection, "/v1/stats/stream")
            first, second = next(events), next(events)
        assert first.data.keys() == second.data.keys() == service.stats().keys()
        assert second.data["uptime_s"] > first.data["uptime_s"]


class TestBound:
    """16 streams and waits of one client at once."""

    def test_of_one_client(self, service: Service) -> None:
        """The 17th is refused, whatever it is; another client's is not; one that ends makes room."""
        address = fresh_address()
        with service.paused(), ExitStack() as stack:
            document = service.upload().json()
            links = document["links"]
            connections = [stack.enter_context(service.connect(address)) for _ in range(16)]
            for number, connection in enumerate(connections):
                if number % 2:
                    next(open_stream(connection, links["events"]))
                else:
                    connection.head(f"GET {links['self']}", "Prefer: wait=20")
            client = stack.enter_context(service.client(address))

            def refused() -> bool:
                return client.get("/v1/stats/stream").status_code == 503

            until(refused, "all of them to be counted")
            for path in (links["events"], "/v1/stats/stream"):
                problem(client.get(path), 503, REDUCED_CAPACITY, guard="streams")
            wait = {"prefer": "wait=5"}
            problem(client.get(links["self"], headers=wait), 503, REDUCED_CAPACITY, guard="streams")
            assert client.get(links["self"]).status_code == 200
            # An upload is not refused for that: it is accepted, and not waited for.
            fields = {"content-type": "image/jpeg", **wait}
            answer = client.post("/v1/images", content=samples.jpeg(), headers=fields)
            assert answer.status_code == 202
            assert "preference-applied" not in answer.headers
            with service.connect() as other:
                next(open_stream(other, links["events"]))
            connections[1].close()
            connections[0].close()

            def admitted() -> bool:
                with service.connect(address) as connection:
                    connection.head("GET /v1/stats/stream", "Connection: close")
                    return next(connection.lines()).startswith("HTTP/1.1 200")

            until(admitted, "another stream to be admitted")

    def test_does_not_bind_finished_jobs(self, service: Service) -> None:
        """A wait for a finished job does not count."""
        document = service.upload(prefer="wait=20").json()
        with service.client() as client:
            for _ in range(20):
                answer = client.get(document["links"]["self"], headers={"prefer": "wait=5"})
                assert answer.json()["status"] == "done"

    def test_of_all(self, tight: Service) -> None:
        """MAX_STREAMS bounds all clients together."""
        with ExitStack() as stack:
            for _ in range(3):
                next(open_stream(stack.enter_context(tight.connect()), "/v1/stats/stream"))
            problem(tight.get("/v1/stats/stream"), 503, REDUCED_CAPACITY, guard="streams")


def test_head(service: Service) -> None:
    """HEAD of a stream is answered at once and does not count as a stream."""
    with service.paused(), service.connect() as connection:
        events = service.upload().json()["links"]["events"]
        for path in ["/v1/stats/stream", events] * 10:
            connection.head(f"HEAD {path}")
            answer = connection.answer(body=False)
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
        connection.head(f"HEAD {events.removesuffix('/events')}")
        assert connection.answer(body=False).status == 200
