"""The page in a real Chromium: uploads, refusals, live figures, reloads, pressure, keyboard, all readers."""

import re
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests import samples
from tests.service import SMALL, Service, free_port, serving, stopped, until
from tests.web import recording
from tests.web.browser import PATIENCE_MS, browsing, choose, chromium, drop
from tests.web.foreign_page import static_server
from tools.site.recording import copy_recording

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")
expect.set_options(timeout=PATIENCE_MS)

PHOTO = samples.jpeg(800, 600)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here; it must end before tests with an event loop of their own begin."""
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A demonstration with room for all these tests."""
    folder = tmp_path_factory.mktemp("pages")
    with serving(folder, demo=True, rate=50, burst=100, queue_size=40) as service:
        yield service


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """A function that opens the page of a service; in the end nothing must have gone wrong in it.

    What a page says when a connection breaks or an upload is refused is the browser's own and no fault.
    """
    faults: list[str] = []
    with ExitStack() as stack:

        def visit(service: Service, path: str = "/", **look: Any) -> Page:
            # Without a graphics card, what moves on the page would cost more than the tests.
            context = browser.new_context(**{"reduced_motion": "reduce", **look})
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.on("filechooser", lambda _: None)  # asked for late, one that opens at once would be missed
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on(
                "console",
                lambda said: (
                    faults.append(said.text)
                    if said.type == "error" and "Failed to load resource" not in said.text
                    else None
                ),
            )
            page.on(
                "request",
                lambda request: (
                    None
                    if request.url.startswith((service.url, "data:", "blob:"))
                    else faults.append(request.url)
                ),
            )
            page.goto(service.url + path)
            return page

        yield visit
    assert faults == []


def arrived(page: Page, count: int = 1) -> None:
    """Wait until so many photos are done."""
    expect(page.locator(".grid li")).to_have_count(count)


def tile(page: Page, name: str) -> Any:
    """The photo of this name in the grid."""
    return page.locator(f'.grid button[title="{name}"]')


def is_readable(page: Page, scheme: Literal["light", "dark"], but_for: Sequence[str] = ()) -> None:
    """Fail with everything that axe finds in this colour scheme, except by some of its rules."""
    page.emulate_media(color_scheme=scheme)
    found = Axe().run(page, options={"rules": {rule: {"enabled": False} for rule in but_for}})
    assert found.violations_count == 0, found.generate_report()


def figure(page: Page, name: str) -> Any:
    """The element that shows one of the server's figures."""
    return page.locator(f'[data-figure="{name}"]')


# --- upload ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bring", [choose, drop])
def test_photos_come_back_in_every_size(service: Service, visit: Open, bring: Any) -> None:
    """Chosen or dropped photos become a grid; each opens to its sizes, which can be linked and downloaded."""
    page = visit(service)
    bring(page, {"one.jpg": PHOTO, "two.jpg": samples.jpeg(64, 48)})
    arrived(page, 2)
    tile(page, "one.jpg").click()
    details = page.locator("#details")
    expect(details.locator(".cascade li b")).to_have_text(["large", "medium", "small", "thumb"])
    expect(details.locator(".cascade img").last).to_have_js_property("naturalWidth", 96)
    address = details.locator(".cascade a").first.get_attribute("href")
    assert address is not None
    assert service.get(address).status == 200
    expect(details.locator(".download")).to_have_attribute("download", "one.jpg")
    page.keyboard.press("ArrowLeft")
    expect(details.locator("h2")).to_have_text("two.jpg")
    page.keyboard.press("Escape")
    expect(details).not_to_be_visible()


STOOD_IN = """
async ([before, after]) => {
  const [{ Photo }, { Tiles }, { showVariants }, { statusOf }] = await Promise.all(
    ["photo", "tiles", "cascade", "photo-status"].map((name) => import(`/static/js/${name}.js`)));
  const photo = new Photo("one.jpg", { id: before.id });
  const list = document.createElement("ul");
  const tiles = new Tiles(document.getElementById("grid"), () => {});
  const seen = [];
  for (const job of [before, after]) {
    photo.update(job);
    if (!tiles.has(photo)) tiles.add(photo);
    showVariants(list, photo);
    const tile = document.querySelector("#grid li");
    const source = (item) => item.querySelector("img").getAttribute("src");
    const sizes = [...list.children].map((item) => item.dataset.variant + source(item));
    seen.push([tile.className, source(tile), sizes, statusOf(photo).text]);
  }
  return seen;
}
"""


def test_a_provisional_picture_is_marked_and_gives_way_to_the_true_one(service: Service, visit: Open) -> None:
    """The grid, the sizes and the sentence change by themselves, and no cache can give the old picture."""
    after = service.upload(PHOTO, prefer="wait=20").json()
    thumb = {**after["variants"]["thumb"], "provisional": True, "sha256": "0" * 64}
    before = {**after, "variants": {"thumb": thumb}, "deferred": ["large", "medium", "small", "thumb"]}
    first, second = visit(service).evaluate(STOOD_IN, [before, after])
    base = f"/v1/images/{after['id']}"
    assert first[:3] == ["provisional", f"{base}/thumb?provisional", [f"thumb{base}/thumb?provisional"]]
    assert "the thumbnail in the photo for now; large, medium, small, thumb to follow" in first[3]
    assert second[:2] == ["", f"{base}/small"]
    assert second[2] == [f"{name}{base}/{name}" for name in ("large", "medium", "small", "thumb")]
    assert "for now" not in second[3]
    assert service.get(f"{base}/thumb?provisional").status == 200


def test_a_cut_does_not_stand_for_the_whole(service: Service, visit: Open) -> None:
    """In the HTML that is copied, a browser may take any address of a srcset for any other."""
    sizes = {"large": (1600, 1067), "small": (320, 213), "avatar": (256, 256), "wide": (800, 200)}
    variants = {
        name: {"url": f"/v1/images/1/{name}", "width": width, "height": height}
        for name, (width, height) in sizes.items()
    }
    script = "async (job) => (await import('/static/js/cascade.js')).srcset({job})"
    html = visit(service).evaluate(script, {"variants": variants})
    assert re.findall(r"(\w+) (\d+)w", html) == [("large", "1600"), ("small", "320")]


def test_a_removal_can_be_taken_back(service: Service, visit: Open) -> None:
    """The photo comes back unharmed; removed again, it goes when the page is left, if not before."""
    page = visit(service)
    choose(page, {"one.jpg": PHOTO})
    arrived(page)
    address = page.locator(".grid img").get_attribute("src")
    assert address is not None
    for taken_back in (True, False):
        tile(page, "one.jpg").click()
        page.locator("#details .remove").click()
        arrived(page, 0)
        assert service.get(address).status == 200
        if taken_back:
            page.get_by_role("button", name="Undo").click()
            arrived(page)
    page.goto("about:blank")
    until(lambda: service.get(address).status == 404, "the photo to be gone")


def test_all_photos_are_linked_packed_and_shown_as_an_album(service: Service, visit: Open) -> None:
    """One address shows them to somebody else, and one archive has them all, under names of their own."""
    page = visit(service, accept_downloads=True)
    page.evaluate("delete globalThis.showSaveFilePicker")
    page.evaluate("navigator.clipboard.writeText = (text) => (window.copied = text)")
    choose(page, {"one.jpg": PHOTO, "two.jpg": samples.jpeg(64, 48)})
    arrived(page, 2)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == ["one.jpg", "two.jpg"]
        assert archive.testzip() is None
        assert Image.open(archive.open("one.jpg")).size == (800, 600)
    page.get_by_role("button", name="Copy all links").click()
    until(lambda: page.evaluate("window.copied?.includes('/large')"), "the links")
    assert len(page.evaluate("window.copied").splitlines()) == 2
    page.get_by_role("button", name="Copy album link").click()
    until(lambda: page.evaluate("window.copied?.includes('#album=')"), "the album's address")
    other = visit(service, page.evaluate("window.copied").removeprefix(service.url))
    expect(other.get_by_role("heading", name="2 photos")).to_be_visible()
    expect(other.locator(".grid img").last).to_have_js_property("naturalWidth", 320)
    expect(other.locator("#drop")).not_to_be_visible()


def test_what_can_be_seen_to_be_no_photo_costs_no_token(service: Service, visit: Open) -> None:
    """An empty file, one that is too large and a text are told at once, each with its explanation."""
    page = visit(service)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    choose(page, {"empty.jpg": b"", "letter.jpg": b"Dear Sir or Madam"})
    expect(page.locator(".photo.failed .state")).to_have_text(
        [re.compile("This file is empty"), re.compile("Not a photo. What is taken: JPEG, PNG")]
    )
    assert sent == []


def test_three_hundred_photos_are_light_and_are_all_remembered(service: Service, visit: Open) -> None:
    """They are there again at once after a reload, in their order, without a question to the server."""
    job = service.ended(service.upload(PHOTO).json()["id"])
    entries = [{"id": f"{number:032x}", "name": f"{number}.jpg", "job": job} for number in range(301)]
    page = visit(service)
    page.evaluate("(kept) => localStorage.setItem('spillway.uploads', JSON.stringify(kept))", entries)
    page.reload()
    arrived(page, 300)
    assert page.locator(".grid img").evaluate_all("(all) => all.slice(0, 3).map((each) => each.alt)") == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
    ]
    assert page.evaluate("document.querySelectorAll('*').length") <= 2000
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None
    )
    page.get_by_role("button", name="Show older photos").click()
    arrived(page, 301)
    assert [url for url in asked if "/v1/images/" in url] == []


def test_photos_that_were_not_sent_go_on_after_a_reload(start: Any, visit: Open) -> None:
    """Their files are kept in the browser, and a second tab leaves them to the first."""
    service = start(rate=0.2, burst=2)
    page = visit(service)
    choose(page, {f"{number}.jpg": samples.jpeg(64 + number, 48) for number in range(4)})
    arrived(page, 2)
    page.reload()
    arrived(page, 2)
    expect(page.locator(".photo")).to_have_count(2)
    expect(page.locator("#bar p")).to_contain_text("0 of 2 ready")
    other = page.context.new_page()
    other.goto(service.url)
    arrived(other, 2)
    expect(other.locator("#summary")).to_contain_text("2 of 2 ready")


def test_sending_is_paused_cancelled_and_waits_for_the_network(start: Any, visit: Open) -> None:
    """Nothing is sent while paused or offline; the bar and the title say how far all is."""
    service = start(rate=50, burst=50)
    page = visit(service)
    page.context.set_offline(True)
    choose(page, {f"{number}.jpg": samples.jpeg(64 + number, 48) for number in range(3)})
    expect(page.locator("#bar p")).to_contain_text("0 of 3 ready")
    expect(page.locator("#bar p")).to_contain_text("offline")
    page.get_by_role("button", name="Pause").click()
    page.context.set_offline(False)
    expect(page.locator("#bar p")).to_contain_text("paused")
    expect(page).to_have_title(re.compile("^0/3 · "))
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        for place in ("0", "document.getElementById('photos').offsetTop"):
            page.evaluate(f"scrollTo(0, {place})")
            expect(page.locator("#bar")).to_be_in_viewport()
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#bar")).to_be_in_viewport()
    page.set_viewport_size({"width": 1440, "height": 844})
    assert service.stats()["jobs"]["accepted"] == 0
    page.get_by_role("button", name="Remove 2.jpg").click()
    page.get_by_role("button", name="Go on").click()
    arrived(page, 2)
    expect(page.locator("#bar")).not_to_be_visible()
    expect(page).to_have_title(re.compile("^Ready · "))


def test_a_file_that_is_no_photo_says_why(service: Service, visit: Open) -> None:
    """It is refused for good, with a link to the explanation, and not sent again."""
    page = visit(service)
    choose(page, {"letter.jpg": b"Dear Sir or Madam"})
    expect(page.locator(".photo.failed .state a")).to_have_attribute("href", re.compile("^/problems/"))


# --- refusal and recovery -------------------------------------------------------------------------------


def test_more_photos_than_tokens_all_arrive(start: Any, visit: Open) -> None:
    """The bucket holds one: the page says who refused, counts down, and continues by itself."""
    service = start(rate=0.5, burst=1)
    page = visit(service)
    page.evaluate(
        """() => {
          window.said = new Set();
          new MutationObserver(() => {
            for (const line of document.querySelectorAll(".state")) window.said.add(line.textContent);
          }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    choose(page, {f"{number}.jpg": samples.jpeg(64 + number, 48) for number in range(4)})
    arrived(page, 4)
    said = page.evaluate("() => [...window.said]")
    assert any(
        line.startswith("Refused by the bouncer: your bucket is empty (429). Back in") for line in said
    )
    jobs = service.stats()["jobs"]
    assert (jobs["accepted"], jobs["done"]) == (4, 4)


def test_a_full_queue_is_named_and_waited_for(start: Any, visit: Open) -> None:
    """A 503 links to its explanation, and the photo is accepted when there is room."""
    service = start(queue_size=2, brownout="off")
    page = visit(service)
    with service.paused():
        waiting = [service.upload() for _ in range(2)]
        assert {answer.status_code for answer in waiting} == {202}
        choose(page, {"late.jpg": PHOTO})
        line = page.locator(".photo.refused .state")
        expect(line).to_contain_text(re.compile(r"Refused by the queue: it is full \(503\)\. Back in \d"))
        expect(line.locator("a")).to_have_attribute("href", "/problems/queue#visitor")
        expect(page.locator("#mood p")).to_have_text("Pressure")
        with page.expect_popup() as why:
            line.locator("a").click()
        expect(why.value.locator(".visitor")).to_be_visible()
        why.value.goto(f"{service.url}/problems/queue")
        expect(why.value.locator(".visitor")).not_to_be_visible()
    arrived(page)


def test_a_preview_is_shown_as_a_preview(start: Any, visit: Open) -> None:
    """With ON_FULL=degrade the answer is no finished photo: it says so, says when, and the photo follows."""
    service = start(queue_size=2, brownout="off", on_full="degrade")
    page = visit(service)
    with service.paused():
        for _ in range(2):
            assert service.upload().status_code == 202
        choose(page, {"late.jpg": samples.jpeg(800, 600, thumbnail=samples.jpeg(160, 120))})
        photo = page.locator(".photo.degraded")
        line = photo.locator(".state")
        expect(line).to_contain_text(
            re.compile(r"Only a preview for now: the queue is full\. The photo itself is sent again in \d")
        )
        expect(line.locator("a")).to_have_attribute("href", "/problems/queue#visitor")
        expect(photo.locator(".frame img")).to_have_attribute("src", re.compile("^data:image/"))
        expect(page.locator("#summary")).to_contain_text("0 of 1 ready, 1 as a preview for now")
    arrived(page)


def test_one_page_asks_little_however_many_photos_it_has(start: Any, visit: Open) -> None:
    """Of 100 photos some wait and some have sizes put off: at most two requests a second ask for them."""
    service = start(
        queue_size=400, client_share=400, rate=1000, burst=1000, brownout_high=0.01, brownout_low=0.005
    )
    kept = []
    with service.paused(), service.client() as client:
        for _ in range(100):
            answer = client.post("/v1/images", content=SMALL, headers={"Content-Type": "image/jpeg"})
            document = answer.json()
            kept.append({"id": document["id"], "token": document["delete_token"], "name": "photo.jpg"})
    until(lambda: service.stats()["brownout"]["deferred"] >= 20, "photos with sizes put off")
    with stopped(service.workers()):
        page = visit(service)
        page.evaluate("(kept) => localStorage.setItem('spillway.uploads', JSON.stringify(kept))", kept)
        page.reload()
        expect(page.locator("#summary")).to_contain_text("of 100 ready")
        asked: list[str] = []
        page.on(
            "request",
            lambda request: None if request.resource_type == "image" else asked.append(request.url),
        )
        began = time.monotonic()
        expect(page.locator(".grid li").nth(2)).to_be_attached()
        page.wait_for_timeout(4000)
        seconds = time.monotonic() - began
        assert page.locator(".photo.queued, .photo.processing, .photo.restoring").count() > 0
    assert len(asked) <= 2 * seconds + 1, asked


@pytest.mark.parametrize("module", ["watch.js", "main.js", "bucket.js", "format.js"])
def test_a_script_that_is_missing_leaves_the_plain_form(
    service: Service, browser: Browser, module: str
) -> None:
    """The form sends a photo as it does without any script."""
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.route(f"**/{module}", lambda route: route.abort())
        page.goto(service.url)
        page.locator("#file").set_input_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": PHOTO}])
        page.get_by_role("button", name="Send", exact=True).click()
        page.wait_for_url("**/v1/images")
        assert '"delete_token"' in page.content()


def test_uploads_go_on_without_the_figures(service: Service, browser: Browser) -> None:
    """The figures of the server are a script of their own, which uploads do not need."""
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.route("**/minute.js", lambda route: route.abort())
        page.goto(service.url)
        choose(page, {"one.jpg": PHOTO})
        arrived(page)


# --- live -----------------------------------------------------------------------------------------------


def test_what_others_do_is_seen_at_once(service: Service, visit: Open) -> None:
    """Figures and charts follow the server, and pause while the page is hidden."""
    page = visit(service)
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator('[data-column="memory_bytes"] path')).to_have_attribute("d", re.compile("^M"))
    accepted = service.stats()["jobs"]["accepted"]
    expect(figure(page, "jobs.accepted")).to_have_text(str(accepted))
    service.upload()
    expect(figure(page, "jobs.accepted")).to_have_text(str(accepted + 1))
    expect(page.locator('[data-column="accepted"] path')).to_have_attribute("d", re.compile("^M"))
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#live")).to_have_text("paused")


def test_a_newcomer_sees_the_whole_last_minute(service: Service, visit: Open) -> None:
    """The first message fills the charts."""
    until(lambda: len(service.stats()["minute"]["done"]) >= 3, "three seconds")
    page = visit(service)
    expect(page.locator('[data-column="memory_bytes"] path')).to_have_attribute(
        "d", re.compile(r"^M[0-9]+ 20(V[0-9.]+h1){3,}")
    )


def test_reload_and_restart_lose_nothing(start: Any, visit: Open) -> None:
    """Uploads are listed again after a reload, and the page finds the server when it is back."""
    service = start(rate=50, burst=50, port=free_port())
    page = visit(service)
    choose(page, {"kept.jpg": PHOTO})
    arrived(page)
    page.reload()
    arrived(page)
    expect(tile(page, "kept.jpg")).to_be_visible()
    service.kill()
    expect(page.locator("#live")).to_have_text("no contact with the server")
    expect(page.locator("#mood p")).to_have_text("No contact")
    choose(page, {"meanwhile.jpg": PHOTO})
    expect(page.locator(".photo.refused .state")).to_contain_text(
        "No answer from the server. Trying again in"
    )
    service.start()
    expect(page.locator("#live")).to_have_text("live")
    arrived(page, 2)


PLACES = """
() => {
  window.places = [];
  new MutationObserver(() => {
    const told = [...document.querySelectorAll("#photos .state")].map(({ textContent }) => textContent);
    places.push(told.map((text) => Number(/^Place (?:about )?(\\d+)/.exec(text)?.[1] ?? 0)));
  }).observe(document.getElementById("photos"), { subtree: true, childList: true, characterData: true });
}
"""


def test_places_in_the_queue_change_together(service: Service, visit: Open) -> None:
    """When those ahead are gone, all photos of the page move at once, never one after the other."""
    page = visit(service)
    with service.paused():
        ahead = [
            service.upload().json() for _ in range(6)
        ]  # each from an address of its own, so all go first
        choose(page, {f"{number}.jpg": samples.jpeg(64, 48) for number in range(3)})
        expect(page.locator(".photo.queued")).to_have_count(3)
        page.evaluate(PLACES)
        with service.client() as client:
            for document in ahead[:5]:
                field = {"Authorization": f"Bearer {document['delete_token']}"}
                assert client.delete(document["links"]["self"], headers=field).status_code == 204
        seen: list[list[int]] = []

        def moved_up() -> bool:
            seen[:] = [sorted(told) for told in page.evaluate("places") if all(told)]
            return [2, 3, 4] in seen

        until(moved_up, "all photos to have moved up", show=lambda: page.evaluate("places"))
    assert all(told == [told[0], told[0] + 1, told[0] + 2] for told in seen), seen


# --- make pressure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["the repository", "the documentation site"])
def test_the_recording_plays_without_a_service(browser: Browser, tmp_path: Path, where: str) -> None:
    """A server of files is enough; the page's own scripts show the figures of the run, which changes.

    The clock of the page is moved by hand, a second for each snapshot.
    """
    folder, path = recording.ROOT, "docs/recording/index.html"
    if where == "the documentation site":
        folder, path = tmp_path / "site", "index.html"
        copy_recording(folder)
    with static_server(folder) as origin, browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.clock.install()
        page.goto(f"{origin}/{path}")
        expect(page.locator("#live")).to_have_text("a recording")
        shown: dict[str, set[str | None]] = {"accepted": set(), "waiting": set(), "told": set()}

        def is_over() -> bool:
            page.clock.run_for(1000)
            shown["accepted"].add(figure(page, "jobs.accepted").text_content())
            shown["waiting"].add(figure(page, "backlog.waiting").text_content())
            shown["told"].add(page.locator("#clock").text_content())
            return "nobody lost" in str(page.locator("#clock").text_content())

        until(is_over, "the end of the recording", show=lambda: shown)
        assert all(len(texts) > 5 for texts in shown.values()), shown
        expect(page.locator("#twin-real")).to_contain_text("The usual service got the same crowd beside")
        expect(page.locator("#mood p")).not_to_have_text("as configured")
        assert page.evaluate("document.styleSheets.length") == 4
        assert faults == []


def test_an_act_is_played_and_stopped(service: Service, visit: Open) -> None:
    """One act runs at a time; its figures are shown, and the server is as before."""
    page = visit(service)
    page.locator("[data-act=bully]").click()
    expect(page.locator("[data-act=bully]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-act=bully]")).to_be_focused()
    expect(page.locator("[data-act=crowd]")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#buckets i")).to_have_count(6)
    expect(figure(page, "refusals.rate")).to_have_text(re.compile("^[1-9]"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#outcome")).to_contain_text(
        re.compile(r"One asks too often: \d+ people; \d+ got in;.* requests were answered .*429")
    )
    expect(page.locator("[data-act=crowd]")).to_have_attribute("aria-disabled", "false")


def test_a_link_plays_its_act_and_the_tour_explains_it_by_keyboard(service: Service, visit: Open) -> None:
    """A guess, the act, what it showed, and the code; while another act is played, the tour waits."""
    page = visit(service, "/?act=bully")
    expect(page.locator("[data-act=bully]")).to_have_attribute("aria-pressed", "true")
    tab_to(page, page.locator("#tour-open"))
    page.keyboard.press("Enter")
    expect(page.locator("#tour-title")).to_be_focused()
    step = page.locator(".step:visible")
    tab_to(page, step.locator(".answers button").nth(1))
    page.keyboard.press("Enter")
    expect(step.locator(".verdict")).to_have_text("Yes. See it happen:")
    expect(step.locator("code")).to_contain_text("self.max_debt")
    tab_to(page, step.locator("summary"))
    page.keyboard.press("Enter")
    with page.expect_popup() as opened:
        step.get_by_role("link", name="app/backpressure/token_bucket.py, line").click()
    is_readable(opened.value, "light")
    expect(opened.value.locator(".shown").first).to_contain_text("def spend")
    opened.value.close()
    is_readable(page, "light")
    expect(step.locator(".act")).to_contain_text("turned away so far")
    page.get_by_role("button", name="Stop").click()
    expect(step.locator(".act")).to_contain_text(re.compile(r"\d+ people; |without figures"))
    tab_to(page, step.locator(".next"))
    page.keyboard.press("Enter")
    expect(page.locator("#tour-title")).to_have_text("The queue without a bound")


def test_levers_act_at_once_and_go_back(service: Service, visit: Open) -> None:
    """Every visitor sees them, for they are the server's."""
    page, other = visit(service), visit(service)
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_label("burst").fill("7")
    expect(page.locator("#limit")).to_have_text("7")
    expect(page.locator('[data-lever="burst"]')).to_have_text(["7", "7"])
    page.get_by_label("rate").fill("12.5")
    expect(other.locator('[data-lever="rate"]')).to_have_text(["12.5", "12.5"])
    page.get_by_label("queue").fill("5")
    expect(figure(other, "backlog.capacity")).to_have_text("5")
    expect(other.locator("#back-in")).to_contain_text(re.compile(r"Back to the settings in [45]:\d\d"))
    other.get_by_role("button", name="Back now").click()
    expect(figure(page, "backlog.capacity")).to_have_text("40")
    expect(page.locator('[data-lever="rate"]')).to_have_text(["50", "50"])
    assert service.stats()["demo"]["levers"] == {"rate": 50, "burst": 100, "queue": 40, "workers": 1}


# --- for everyone ---------------------------------------------------------------------------------------


def tab_to(page: Page, element: Any) -> None:
    """Press the tabulator until an element has the focus."""
    for _ in range(40):
        if element.evaluate("(one) => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the element cannot be reached by keyboard")


def test_everything_works_by_keyboard(service: Service, visit: Open) -> None:
    """Skip link, file chooser and removal work by keyboard, and the focus stays near a removed photo."""
    page = visit(service)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    photo: Any = {"name": "keys.jpg", "mimeType": "image/jpeg", "buffer": PHOTO}
    chooser.value.set_files([photo])
    arrived(page)
    tab_to(page, tile(page, "keys.jpg"))
    page.keyboard.press("Enter")
    tab_to(page, page.locator("#details .remove"))
    page.keyboard.press("Enter")
    arrived(page, 0)
    expect(page.locator("#main")).to_be_focused()


def test_the_page_is_for_every_reader(service: Service, visit: Open) -> None:
    """On phone and desktop, light and dark, axe finds nothing and nothing is wider than the window."""
    page = visit(service)
    choose(page, {"one.jpg": PHOTO, "not one.jpg": b"Dear Sir or Madam"})
    arrived(page)
    expect(page.locator(".photo.failed")).to_have_count(1)
    expect(page.locator("#live")).to_have_text("live")
    page.locator(".grid button").first.click()
    is_readable(page, "light")
    page.keyboard.press("Escape")
    for width in (390, 1440, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in SCHEMES:
            is_readable(page, scheme)


@pytest.mark.parametrize("path", ["/problems", "/problems/queue", "/docs"])
def test_the_other_pages_are_too(service: Service, visit: Open, path: str) -> None:
    """The problem pages and the API description, except for two rules that Swagger UI's markup breaks."""
    page = visit(service, path, viewport={"width": 390, "height": 900})
    if path == "/docs":
        expect(page.locator(".opblock").first).to_be_visible()
    habits = ("nested-interactive", "heading-order") if path == "/docs" else ()
    for scheme in SCHEMES:
        is_readable(page, scheme, habits)


def test_the_description_takes_a_file(service: Service, visit: Open) -> None:
    """A file can be uploaded from the API description."""
    page = visit(service, "/docs")
    page.locator(".opblock-post .opblock-summary-control").first.click()
    page.get_by_role("button", name="Try it out").click()
    photo: Any = {"name": "one.jpg", "mimeType": "image/jpeg", "buffer": PHOTO}
    page.locator("input[type=file]").set_input_files([photo])
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response .response-col_status")).to_contain_text("202")


def test_nothing_moves_for_those_who_asked_for_that(service: Service, visit: Open) -> None:
    """With reduced motion no animation runs; otherwise some do."""
    for motion, moves in (("reduce", False), ("no-preference", True)):
        page = visit(service, reduced_motion=motion)
        expect(page.locator("#live")).to_have_text("live")
        assert bool(page.evaluate("document.getAnimations().length")) is moves
