"""ADMIN_PORT: what is for operators is on a port of its own, and the other one works without it."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests import samples
from tests.service import COMMAND, PATIENCE, SMALL, Executed, free_port, run, serving
from tests.web.browser import PATIENCE_MS, browsing, choose, chromium, watched_page

OPERATIONS = ("/metrics", "/v1/stats", "/v1/stats/stream", "/v1/demo/levers", "/v1/demo/acts")
OPERATIONS_PAGE = Path(__file__).parents[2] / "docs/operations.md"
STREAMS = 3


class TwoPorts(Executed):
    """A service with an admin port, and few files that it may open."""

    command = ("prlimit", "--nofile=256", COMMAND)

    @property
    def admin_url(self) -> str:
        """The URL of the admin port, from the line that tells of the start."""
        found = re.search(r"  admin: (http://127\.0\.0\.1:[0-9]+)  ", self.ready_line)
        assert found is not None, self.ready_line
        return found[1]

    def stats(self) -> Any:
        """The document of /v1/stats."""
        return httpx.get(f"{self.admin_url}/v1/stats", timeout=PATIENCE).json()

    def admin(self) -> httpx.Client:
        """A client of the admin port."""
        return httpx.Client(base_url=self.admin_url, timeout=PATIENCE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoPorts]:
    """A demonstration, of which PORT shows nothing; it is stopped in the middle of a stream of each port."""
    folder = tmp_path_factory.mktemp("two")
    settings = {"admin_port": 0, "demo": True, "rate": 1000, "burst": 1000, "max_streams": STREAMS}
    with serving(folder, kind=TwoPorts, **settings) as service:
        assert isinstance(service, TwoPorts)
        yield service
        with service.admin() as admin, admin.stream("GET", "/v1/stats/stream") as stream:
            lines = stream.iter_lines()
            next(lines)
            service.signal(signal.SIGTERM)
            assert list(lines)
        assert service.wait() == 0


def test_operations_are_on_the_admin_port_alone(service: TwoPorts) -> None:
    """Metrics, statistics and the demonstration are nowhere on the public port, nor described there."""
    with service.admin() as admin, service.client() as public:
        for path in OPERATIONS:
            assert public.get(path).status_code == 404, path
            assert public.delete(path, headers={"Origin": service.url}).status_code == 404, path
        described = [set(each.get("/openapi.json").json()["paths"]) for each in (public, admin)]
        assert described[1] - described[0] == {
            "/metrics",
            "/v1/stats",
            "/v1/stats/stream",
            "/v1/demo/levers",
            "/v1/demo/acts",
            "/v1/demo/acts/{name}",
        }
        assert described[0] < described[1]
        assert "spillway_uptime_seconds" in admin.get("/metrics").text
        assert admin.get("/v1/stats").json()["jobs"]["accepted"] >= 0
        changed = admin.post("/v1/demo/levers?rate=50", headers={"Origin": service.admin_url})
        assert changed.json()["levers"]["rate"] == 50
        assert admin.delete("/v1/demo/levers", headers={"Origin": service.admin_url}).status_code == 200


def test_both_ports_say_how_they_are_and_take_uploads(service: TwoPorts) -> None:
    """An image of one is an image of the other, and both count the same tokens."""
    with service.admin() as admin, service.client("127.0.0.1") as public:
        for each, other in ((admin, public), (public, admin)):
            assert each.get("/healthz").status_code == each.get("/readyz").status_code == 200
            headers = {"Content-Type": "image/jpeg", "Prefer": "wait=20"}
            made = each.post("/v1/images", content=SMALL, headers=headers)
            assert made.status_code == 201
            assert other.get(made.headers["location"]).json()["status"] == "done"
            assert each.get("/v1/quota").json()["limit"] == 1000


def test_the_public_page_shows_nothing_of_others(service: TwoPorts) -> None:
    """It has the form and the visitor's own bucket; the whole page, with the demonstration, is the other."""
    with service.admin() as admin, service.client() as public:
        pages = [each.get("/", headers={"Accept": "text/html"}).text for each in (public, admin)]
        for text in ('id="drop"', 'id="bouncer"', "js/main.js"):
            assert all(text in page for page in pages), text
        for text in ('id="mood"', 'id="queue"', 'id="workers"', "js/live.js", 'id="pressure"', "/metrics"):
            assert [text in page for page in pages] == [False, True], text
        wrong = [each.get("/no", headers={"Accept": "text/html"}).text for each in (public, admin)]
        assert ["/metrics" in page for page in wrong] == [False, True]


def test_streams_of_users_keep_nobody_from_the_statistics(service: TwoPorts) -> None:
    """Streams of images and of statistics are counted apart."""
    with service.paused() as (running,), ExitStack() as stack, service.admin() as admin:
        events = running.json()["links"]["events"]
        clients = [stack.enter_context(service.client()) for _ in range(STREAMS + 1)]
        opened = [stack.enter_context(each.stream("GET", events)).status_code for each in clients]
        assert opened == [200] * STREAMS + [503]
        assert stack.enter_context(admin.stream("GET", "/v1/stats/stream")).status_code == 200


def test_a_flood_of_connections_leaves_the_admin_port_open(service: TwoPorts) -> None:
    """As many as the process may have on one port, all of them in the middle of a head."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(service.connect("127.0.98.98")) for _ in range(250)]
        for connection in crowd:
            with suppress(OSError):  # it may have been closed at once
                connection.send(b"GET /healthz HTTP/1.1\r\n")
        with service.admin() as admin:
            assert admin.get("/healthz").status_code == 200
            assert "spillway_uptime_seconds" in admin.get("/metrics").text
            assert admin.get("/v1/stats").status_code == 200


def test_the_documentation_shows_the_line_that_is_printed(service: TwoPorts) -> None:
    """With the usual ports."""
    line = service.ready_line.strip().replace(service.url, "http://127.0.0.1:8000")
    line = line.replace(service.admin_url, "http://127.0.0.1:9000")
    assert f"\n{line}\n" in OPERATIONS_PAGE.read_text()


def test_a_taken_admin_port_ends_the_start(tmp_path: Path, service: TwoPorts) -> None:
    """With one line that names it, before anything is started."""
    taken = service.admin_url.rpartition(":")[2]
    done = run("serve", folder=tmp_path, port=free_port(), admin_port=taken)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {taken}" in done.stderr


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")
def test_the_public_page_uploads_and_shows_a_photo(service: TwoPorts) -> None:
    """In a real browser; nothing in it asks for the statistics, or complains that they are missing."""
    faults: list[str] = []
    asked: list[str] = []
    with browsing() as browser:
        page = watched_page(browser, faults)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(service.url)
        choose(page, {"photo.jpg": samples.jpeg(800, 600)})
        expect(page.locator(".grid img")).to_be_visible(timeout=PATIENCE_MS)
        expect(page.locator("#tokens")).to_have_text(re.compile("^[0-9]+$"))
        page.reload()
        expect(page.locator(".grid li")).to_have_count(1)
    assert faults == []
    assert not [url for url in asked if "stats" in url or "demo" in url]
