"""The pages for people, served by their router alone."""

import html
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI

from app.server.problems import KINDS
from app.settings import Settings
from app.stampede.acts import ACTS, Act
from app.web import home
from app.web.pages import CONTENT_SECURITY_POLICY, STATIC_ROOT, pages_router
from app.web.tour import TOUR
from tests.web import recording

ELSEWHERE = ("/v1/", "/metrics", "/openapi.json")
PAGES = ("/", "/docs", "/problems", *(f"/problems/{slug}" for slug in sorted(KINDS)))


class Elements(HTMLParser):
    """Every start tag of a page with its attributes, and the text inside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.cdata_elem in ("script", "style"):
            self.inline += data.strip()

    def addresses(self) -> set[str]:
        names = ("href", "src", "action")
        return {value for _, attrs in self.tags for name in names if (value := attrs.get(name))}


def application(**settings: object) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(pages_router(Settings(_env_file=None, **settings)))
    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://spillway.test")


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return application()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as opened:
        yield opened


def without_tags(page: str) -> str:
    """The text of a page as a reader sees it, where a figure that a script may change is an element."""
    return re.sub("<[^>]+>", "", page)


async def assets_of(http: httpx.AsyncClient, page: str) -> dict[str, httpx.Response]:
    """What a browser loads for a page: the files that it links to, and the modules that these import."""
    found: dict[str, httpx.Response] = {}
    waiting = [url for url in Elements((await http.get(page)).text).addresses() if "/static/" in url]
    while waiting:
        url = waiting.pop()
        if url not in found:
            found[url] = await http.get(url)
            if url.endswith(".js"):
                imports = re.findall(r'^import .*?"(\.[^"]+)";$', found[url].text, re.MULTILINE)
                waiting += [urljoin(url, name) for name in imports]
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("page", PAGES)
class TestEveryPage:
    async def test_answers_under_the_strict_policy(self, http: httpx.AsyncClient, page: str) -> None:
        """Each page is HTML, sends no referrer, and allows only content of this server."""
        answer = await http.get(page)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_holds_no_inline_script_or_style(self, http: httpx.AsyncClient, page: str) -> None:
        """There is nothing that the policy would block."""
        elements = Elements((await http.get(page)).text)
        assert elements.inline == ""
        for tag, attrs in elements.tags:
            assert tag != "style"
            assert not [name for name in attrs if name == "style" or name.startswith("on")]

    async def test_links_only_to_what_exists(self, http: httpx.AsyncClient, page: str) -> None:
        """Every address in a page is on this server and answers, or belongs to another router."""
        elements = Elements((await http.get(page)).text)
        ids = {attrs.get("id") for _, attrs in elements.tags}
        for url in elements.addresses():
            if url.startswith("#"):
                assert url[1:] in ids
            elif not url.startswith(ELSEWHERE):
                assert url.startswith("/")
                assert (await http.get(url)).status_code == 200, url

    async def test_fills_in_every_value(self, http: httpx.AsyncClient, page: str) -> None:
        """No placeholder of a template is left in a page."""
        text = (await http.get(page)).text
        assert "{{" not in text
        assert "{%" not in text


@pytest.mark.anyio
class TestHome:
    async def test_weighs_at_most_ninety_kilobytes_on_the_wire(self) -> None:
        """Gzipped, with all that it loads and the levers of a demonstration."""
        async with client(application(demo=True)) as http:
            loaded = await assets_of(http, "/")
            assert any(url.endswith("/js/demo.js") for url in loaded)
            assert any(url.endswith("/js/sender.js") for url in loaded)
            answers = [await http.get("/"), *loaded.values()]
        assert {answer.headers["content-encoding"] for answer in answers} == {"gzip"}
        assert sum(int(answer.headers["content-length"]) for answer in answers) <= 90_000

    async def test_has_levers_in_a_demonstration_only(self, http: httpx.AsyncClient) -> None:
        """By default neither the levers nor their script are in the page."""
        text = (await http.get("/")).text
        assert "Make pressure" not in text
        assert "demo.js" not in text
        async with client(application(demo=True, queue_size=42, workers=3)) as shown:
            tags = Elements((await shown.get("/")).text).tags
        levers = {attrs["name"]: attrs for tag, attrs in tags if tag == "input" and attrs["type"] == "range"}
        assert list(levers) == ["rate", "burst", "queue", "workers"]
        assert (levers["queue"]["max"], levers["workers"]["max"], levers["workers"]["min"]) == (
            "42",
            "3",
            "1",
        )
        acts = [attrs["data-act"] for _, attrs in tags if "data-act" in attrs]
        assert acts == ["bully", "crowd", "patient", "impatient", "lenient", "slow"]

    async def test_works_without_script(self, http: httpx.AsyncClient) -> None:
        """A plain form posts one file to the upload endpoint."""
        tags = Elements((await http.get("/")).text).tags
        form = next(attrs for tag, attrs in tags if tag == "form")
        assert (form["method"], form["action"]) == ("post", "/v1/images")
        assert form["enctype"] == "multipart/form-data"
        field = next(attrs for tag, attrs in tags if tag == "input")
        assert (field["type"], field["name"]) == ("file", "file")

    async def test_announces_every_module(self) -> None:
        """A browser need not read one module to learn which others it imports."""
        async with client(application(demo=True)) as http:
            tags = Elements((await http.get("/")).text).tags
            loaded = await assets_of(http, "/")
        announced = {
            attrs.get("href") or attrs.get("src")
            for tag, attrs in tags
            if tag == "script" or attrs.get("rel") == "modulepreload"
        }
        assert announced == {url for url in loaded if url.endswith(".js")}

    async def test_shows_the_settings_it_runs_with(self) -> None:
        """The sentences and figures are those of the settings, from the first paint on."""
        async with client(application(rate=3.5, burst=17, queue_size=42, workers=3, retention="2h")) as http:
            text = (await http.get("/")).text
        assert "a bucket of 17 tokens, refilled at 3.5 a second" in without_tags(text)
        assert 'of <span data-figure="backlog.capacity">42</span> places' in text
        assert text.count("<i></i>") + text.count('<i class="mark"></i>') == 42
        assert "of 3 busy" in without_tags(text)
        assert "2 hours" in text
        async with client(application(retention="inf")) as http:
            text = (await http.get("/")).text
        assert "Kept for good." in text
        assert "then removed" not in text

    async def test_draws_a_bounded_picture(self) -> None:
        """A huge queue and many workers do not make a huge page."""
        async with client(application(queue_size=100_000, workers=256)) as http:
            page = await http.get("/")
        assert ">100000</span> places" in page.text
        assert len(page.content) < 25_000

    async def test_describes_the_leaky_bucket(self) -> None:
        """With this limiter the page says how often a client may ask, and how many may wait."""
        async with client(application(limiter="leaky_bucket", rate=4, max_delay=2)) as http:
            text = (await http.get("/")).text
        assert "once every 0.25 s" in without_tags(text)
        assert '<span id="limit">9</span> tokens' in text

    async def test_escapes_what_it_shows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Text from elsewhere in the program cannot become markup."""
        hostile = Act("x", "x", '<i>"title"</i>', "<script>says</script>", ACTS[0].arrivals)
        monkeypatch.setattr(home, "ACTS", (hostile,))
        async with client(application(demo=True)) as http:
            text = (await http.get("/")).text
        assert "&lt;i&gt;&#34;title&#34;&lt;/i&gt;" in text
        assert "<script>says" not in text


@pytest.mark.anyio
class TestProblems:
    async def test_names_meaning_and_remedy(self, http: httpx.AsyncClient) -> None:
        """A problem's page says its status, what it means and what to do."""
        text = (await http.get("/problems/queue")).text
        assert "503" in text
        assert KINDS["queue"].meaning in text
        assert KINDS["queue"].remedy in text

    async def test_are_all_in_the_index(self, http: httpx.AsyncClient) -> None:
        """The index leads to every kind."""
        linked = Elements((await http.get("/problems")).text).addresses()
        assert {f"/problems/{slug}" for slug in KINDS} <= linked

    async def test_unknown_kind_is_not_found(self, http: httpx.AsyncClient) -> None:
        """A kind that is not in the catalogue has no page."""
        assert (await http.get("/problems/no-such-kind")).status_code == 404


def test_the_recording_is_shown_by_the_templates_of_the_page() -> None:
    """Of today: after a change of these, `make recording` writes it anew."""
    assert (recording.FOLDER / "index.html").read_text() == recording.page()


@pytest.mark.anyio
async def test_the_tour_links_the_code_that_it_shows() -> None:
    """Each step's file is sent as this server runs it, with the function marked; without the tour none is."""
    async with client(application(demo=True)) as http:
        links = re.findall(r'"(/static/source/[^"]+)#(L\d+)"', (await http.get("/")).text)
        assert len(links) == len(TOUR)
        for step, (path, line) in zip(TOUR, links, strict=True):
            page = (await http.get(path)).text
            assert html.unescape(re.sub(r"<[^>]+>", "", page)).count(step.code.splitlines()[-1]) >= 1
            marked = re.findall(r'<span id="(L\d+)" class="shown">(.*)', page)
            assert marked[0][0] == line
            assert step.code.splitlines()[0] in html.unescape(marked[0][1])
    async with client(application()) as http:
        assert (await http.get(links[0][0])).status_code == 404


@pytest.mark.anyio
class TestStatic:
    async def test_sends_only_what_is_in_the_table(self, http: httpx.AsyncClient) -> None:
        """Neither templates nor anything outside the folder can be reached, however it is spelt."""
        within = ("pages/home.html", "js", "")
        outside = ("../templates/home.html", "../pages.py", "%2e%2e/pages.py", "..%2fpages.py")
        for path in (*within, *outside):
            assert (await http.get(f"/static/{path}")).status_code == 404, path

    async def test_may_be_kept_for_good_under_its_release(self, http: httpx.AsyncClient) -> None:
        """A path that changes with the content may be cached without revalidation."""
        for url, answer in (await assets_of(http, "/")).items():
            expected = "no-cache" if url == "/static/favicon.svg" else "public, max-age=31536000, immutable"
            assert answer.headers["cache-control"] == expected

    @pytest.mark.parametrize("path", ["/", "/static/base.css", "/static/swagger/swagger-ui-bundle.js"])
    async def test_is_not_sent_twice(self, http: httpx.AsyncClient, path: str) -> None:
        """A matching If-None-Match is answered with 304, for a strong tag, a weak one, or one of several."""
        tag = (await http.get(path)).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await http.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
        assert (await http.get(path, headers={"If-None-Match": '"other"'})).status_code == 200

    async def test_has_the_client_for_pages_of_other_origins(self, http: httpx.AsyncClient) -> None:
        """A module of at most 6 KB without imports, which everybody may read, and which caches revalidate."""
        client = await http.get("/client.js")
        assert client.headers["content-type"].startswith("text/javascript")
        assert int(client.headers["content-length"]) <= 6000
        assert not re.search(r"^import |\bimport\(", client.text, re.MULTILINE)
        released = next(
            answer for url, answer in (await assets_of(http, "/")).items() if url.endswith("client.js")
        )
        assert released.content == client.content
        types = await http.get("/client.d.ts")
        assert "export declare function upload" in types.text
        for answer in (client, types, released):
            assert answer.headers["access-control-allow-origin"] == "*"
        for answer in (client, types):
            assert answer.headers["cache-control"] == "no-cache"
        assert "access-control-allow-origin" not in (await http.get("/static/js/main.js")).headers

    async def test_sends_scripts_without_their_comments(self, http: httpx.AsyncClient) -> None:
        """Lines that are comments are left out, and nothing else."""
        for url in [url for url in await assets_of(http, "/") if url.endswith(".js")]:
            source = (STATIC_ROOT / "js" / url.rpartition("/")[2]).read_text().splitlines(keepends=True)
            code = [line for line in source if not line.lstrip().startswith("//")]
            assert (await http.get(url)).text == "".join(code)

    async def test_is_gzipped_for_clients_that_accept_it(self, http: httpx.AsyncClient) -> None:
        """The content is the same, the entity tag is another, and Vary tells caches what it depends on."""
        plain = await http.get("/static/base.css", headers={"Accept-Encoding": "identity"})
        packed = await http.get("/static/base.css", headers={"Accept-Encoding": "gzip, br"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.content == packed.content
        assert plain.headers["etag"] != packed.headers["etag"]
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        refused = await http.get("/static/base.css", headers={"Accept-Encoding": "gzip;q=0, br"})
        assert "content-encoding" not in refused.headers
        known = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "identity"}
        assert (await http.get("/static/base.css", headers=known)).status_code == 304

    async def test_brings_the_api_page_its_assets(self, http: httpx.AsyncClient) -> None:
        """Swagger UI comes from here, with media types that a browser accepts under nosniff."""
        loaded = await assets_of(http, "/docs")
        types = {url.rsplit("/", 1)[1]: answer.headers["content-type"] for url, answer in loaded.items()}
        assert types["docs.js"].startswith("text/javascript")
        assert types["swagger-ui.css"].startswith("text/css")
        bundle = next(url for url in loaded if url.endswith("swagger-ui.css")).replace(".css", "-bundle.js")
        assert (await http.get(bundle)).status_code == 200

    async def test_answers_the_icon_every_browser_asks_for(self, http: httpx.AsyncClient) -> None:
        """`/favicon.ico` is the SVG icon."""
        answer = await http.get("/favicon.ico")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.content.startswith(b"<svg")
