"""PUBLIC_URL, with a real nginx that has the service under a path, by the documentation's example."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import expect

from tests import samples
from tests.proxies import proxying
from tests.service import PATIENCE, SMALL, Service, free_port, serving
from tests.web.browser import PATIENCE_MS, browsing, choose, chromium, watched_page

ORIGIN = "https://app.example"
HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class Site:
    """A service, and where its users find it."""

    service: Service
    url: str
    """The public URL, with its final slash."""
    cached_url: str
    """The URL of a cache before it, which knows nothing of the public one."""

    def client(self) -> httpx.Client:
        """A client that knows the public URL alone."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service at /photos/ of nginx."""
    folder, ports = tmp_path_factory.mktemp("site"), (free_port(), free_port())
    url, cached_url = f"http://127.0.0.1:{ports[0]}/photos/", f"http://127.0.0.1:{ports[1]}"
    settings = {"rate": 1000, "burst": 1000, "public_url": url, "cors_origins": ORIGIN}
    with (
        serving(folder, trusted_proxies="127.0.0.1", **settings) as service,
        proxying(tmp_path_factory.mktemp("nginx"), ports, service.port),
    ):
        yield Site(service, url, cached_url)


def addresses(page: str) -> set[str]:
    """Every address that a page names in an attribute."""
    return set(re.findall(r'(?:href|src|action)="([^"#]+)"', page))


def test_every_link_of_a_document_can_be_followed(site: Site, tmp_path: Path) -> None:
    """From a first upload by curl to every variant, without putting two parts of an address together."""
    (tmp_path / "photo.jpg").write_bytes(samples.jpeg(640, 480))
    command = ["curl", "-sS", "-i", "-H", "Prefer: wait=20", "-F", "file=@photo.jpg", f"{site.url}v1/images"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    head, _, body = done.stdout.rpartition("\n\n")
    document = json.loads(body)
    assert f"Location: {document['links']['self']}".lower() in head.lower()
    assert document["variants"]
    links = [*document["links"].values(), *(each["url"] for each in document["variants"].values())]
    with site.client() as client:
        for link in links:
            assert link.startswith(f"{site.url}v1/images/{document['id']}")
            assert client.get(link).status_code == 200
        assert client.get(document["links"]["self"]).json()["links"] == document["links"]
        assert f'"self":"{document["links"]["self"]}"' in client.get(document["links"]["events"]).text


def test_events_come_through_as_they_happen(site: Site) -> None:
    """The proxy holds none of them back: each is there while the job that it tells of still waits."""
    with site.service.paused(), site.client() as client:
        queued = client.post("v1/images", content=SMALL, headers={"Content-Type": "image/jpeg"}).json()
        with client.stream("GET", queued["links"]["events"]) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("event:")) == "event: queued"
            assert json.loads(next(lines).removeprefix("data: "))["links"] == queued["links"]


def test_problems_are_explained_where_they_say(site: Site) -> None:
    """The type of a problem is the address of its page, for failed jobs and refused preflights too."""
    with site.client() as client:
        found = [
            client.get("v1/images/none"),
            client.post("v1/images", content=b"GIF", headers={"Content-Type": "a/b"}),
        ]
        preflight = {"Origin": "https://other.example", "Access-Control-Request-Method": "PUT"}
        found.append(client.options("v1/images", headers=preflight))
        waiting = {"Content-Type": "image/jpeg", "Prefer": "wait=20"}
        found.append(client.post("v1/images", content=SMALL[:-300], headers=waiting))
        assert found[-1].json()["job"]["problem"]["type"] == found[-1].json()["type"]
        for answer in found:
            kind = answer.json()["type"]
            assert kind.startswith(f"{site.url}problems/"), answer.text
            page = client.get(kind, headers=HTML)
            assert page.status_code == 200
            assert answer.json()["title"] in page.text


def test_every_page_links_to_what_is_below_the_path(site: Site) -> None:
    """Pages, their assets, and the page that a browser gets for a problem."""
    followed: set[str] = set()
    with site.client() as client:
        for path in ("", "docs", "problems", "problems/queue", "nowhere/at/all"):
            page = client.get(path, headers=HTML)
            found = {urljoin(str(page.url), address) for address in addresses(page.text)}
            assert all(address.startswith(site.url) for address in found), found
            assert page.headers["content-security-policy"].startswith("default-src 'none'")
            followed |= found
        assert f"{site.url}v1/images" in followed
        for address in followed - {f"{site.url}v1/images"}:
            assert client.get(address).status_code == 200, address


def test_the_description_names_the_public_address(site: Site) -> None:
    """Clients that are generated from it call there."""
    with site.client() as client:
        described = client.get("openapi.json").json()
        assert [server["url"] for server in described["servers"]] == [site.url.rstrip("/")]
        assert client.get(described["servers"][0]["url"] + "/v1/quota").status_code == 200


def test_pages_of_other_origins_read_answers_and_refusals(site: Site) -> None:
    """CORS is as without a proxy."""
    with site.client() as client:
        for path in ("v1/quota", "v1/images/none"):
            answer = client.get(path, headers={"Origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
        preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        assert client.options("v1/images", headers=preflight).status_code == 200


def test_a_cache_keeps_variants_for_its_own_time_and_nothing_else(site: Site) -> None:
    """So a deleted image is seen there for a while, but nobody is told that it still is."""
    waiting = {"Content-Type": "image/jpeg", "Prefer": "wait=20"}
    with httpx.Client(base_url=site.cached_url, timeout=PATIENCE) as client:
        made = client.post("/v1/images", content=SMALL, headers=waiting).json()
        image, thumb = (f"/v1/images/{made['id']}{rest}" for rest in ("", "/thumb"))
        seen = [client.get(thumb).headers["x-cache"] for _ in range(2)]
        assert seen == ["MISS", "HIT"]
        assert "x-cache" not in client.get(f"{image}/events").headers
        assert client.get(image).status_code == 200
        token = {"Authorization": f"Bearer {made['delete_token']}"}
        assert client.delete(image, headers=token).status_code == 204
        assert client.get(image).status_code == 404
        assert client.get(thumb).headers["x-cache"] == "HIT"
        assert client.get(thumb.replace("thumb", "small")).status_code == 404


def test_a_proxy_may_leave_the_path_on(site: Site) -> None:
    """A request with the prefix is one without; what has it only by chance is left alone."""
    for path in ("/photos/healthz", "/healthz", "/photos/", "/photos/problems/queue"):
        assert site.service.get(path).status == 200, path
    for path in ("/photos", "/photos/photos/healthz", "/photosy/healthz", "/photos/nowhere"):
        assert site.service.get(path).status == 404, path
    with site.service.client() as client:
        answer = client.post("/photos/v1/images", content=SMALL, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 202
        assert answer.headers["location"].startswith(site.url)


def test_the_ready_line_names_both_addresses(site: Site) -> None:
    """Where it listens, and where its users are to go."""
    where = f"Spillway is ready at {site.service.url}  public: {site.url}  try: "
    assert site.service.ready_line.startswith(where)
    assert f" {site.url}v1/images" in site.service.ready_line


def strangers(site: Site, url: str) -> list[str]:
    """An address that a page has loaded, if it is not below the public one."""
    return [] if url.startswith((site.url, "data:", "blob:")) else [url]


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")
def test_the_page_uploads_a_photo_and_shows_it_and_the_docs_load(site: Site) -> None:
    """In a real browser, under the policy of the page, at the public address alone."""
    faults: list[str] = []
    with browsing() as browser:
        page = watched_page(browser, faults)
        page.on("request", lambda request: faults.extend(strangers(site, request.url)))
        page.goto(site.url)
        expect(page.locator("#live")).to_have_text("live")
        choose(page, {"photo.jpg": samples.jpeg(800, 600)})
        shown = page.locator(".grid img").first
        expect(shown).to_be_visible(timeout=PATIENCE_MS)
        expect(shown).not_to_have_js_property("naturalWidth", 0)
        script = "async () => (await import(new URL('client.js', location))).uploader.base"
        assert page.evaluate(script) == site.url
        page.goto(f"{site.url}docs")
        expect(page.locator("#swagger-ui .opblock").first).to_be_visible(timeout=PATIENCE_MS)
    assert faults == []
