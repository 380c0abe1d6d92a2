"""`/client.js` and `<spillway-upload>`, in Chromium, on a page of another origin than the service."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests import samples
from tests.javascript import copy_source, packages, run_node
from tests.service import Service, serving, until
from tests.web.browser import PATIENCE_MS, browsing, chromium, drop
from tests.web.foreign_page import foreign_page

CLIENT = Path(__file__).parents[2] / "app/web/static/js/client.d.ts"
PHOTO = samples.jpeg(320, 240)
DOCS = (Path(__file__).parents[2] / "docs/front-end.md").read_text()
FORM = re.findall(r"<form.*?</form>", DOCS, re.DOTALL)[0]
BEGIN = """
async ([client, packed]) => {
  window.client = await import(client);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  window.file = (text) => new File([bytes(text ?? packed)], "one.jpg");
}
"""
needs_chromium = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")
expect.set_options(timeout=PATIENCE_MS)


class Elsewhere:
    """A service, and a page of another origin that has loaded its client."""

    def __init__(self, service: Service, page: Page, origin: str) -> None:
        self.service = service
        self.page = page
        self._origin = origin

    def load(self) -> None:
        """Load the page, or load it again."""
        self.page.goto(self._origin)
        client = f"{self.service.url}/client.js"
        self.page.evaluate(BEGIN, [client, base64.b64encode(PHOTO).decode()])

    def run(self, body: str, argument: object = None) -> Any:
        """What a function gives that has `client`, `file()` and an `argument`."""
        return self.page.evaluate(f"async (argument) => {{ {body} }}", argument)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """One page and one service with a queue of two places for all tests here."""
    settings = {"rate": 50, "burst": 100, "queue_size": 2, "brownout": "off"}
    with (
        foreign_page(tmp_path_factory.mktemp("page"), body=f"<h1>Elsewhere</h1>{FORM}") as origin,
        browsing() as browser,
        serving(tmp_path_factory.mktemp("service"), cors_origins=origin, **settings) as service,
    ):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield Elsewhere(service, page, origin)
        page.close()


@needs_chromium
def test_a_turn_outlives_a_reload(elsewhere: Elsewhere) -> None:
    """The photo is sent again under the same key, not before the moment that was told, and then forgotten."""
    elsewhere.load()
    keys: list[str] = []
    elsewhere.page.on(
        "request",
        lambda request: keys.append(request.headers["idempotency-key"]) if request.method == "POST" else None,
    )
    with elsewhere.service.paused():
        assert [elsewhere.service.upload().status_code for _ in range(2)] == [202, 202]
        refused = elsewhere.run(
            """
            const kept = { keep: true, reference: "a b" };
            return new Promise((onRefused) => client.upload(file(), { ...kept, onRefused }));
            """
        )
        assert (refused["status"], refused["guard"]) == (503, "queue")
        elsewhere.load()
    told = elsewhere.run(
        """
        const sent = [];
        const [{ file, options }, ...others] = await client.unsent();
        client.uploader.addEventListener("change", ({ detail }) => {
          if (detail.state === "sending") sent.push(Date.now());
        });
        const job = await client.upload(file, options);
        const done = await client.wait(job);
        return { sent: sent[0], others: others.length, again: (await client.unsent()).length, done };
        """
    )
    assert (told["others"], told["again"]) == (0, 0)
    assert told["sent"] >= refused["until"] - 1
    assert (told["done"]["status"], told["done"]["reference"]) == ("done", "a b")
    assert len(keys) >= 2
    assert len(set(keys)) == 1
    elsewhere.load()
    assert elsewhere.run("return client.unsent();") == []


@needs_chromium
def test_what_cannot_be_is_told(elsewhere: Elsewhere) -> None:
    """A file that is no photo, one that cannot be decoded, and an upload that is ended while it waits."""
    elsewhere.load()
    letter, broken = base64.b64encode(b"Dear Sir").decode(), base64.b64encode(PHOTO[:-300]).decode()
    told = elsewhere.run(
        """
        const reason = ({ name, status, problem }) => ({ name, status, type: problem?.type });
        const letter = await client.upload(file(argument[0])).catch(reason);
        const broken = await client.upload(file(argument[1])).then(client.wait).catch(reason);
        const stop = new AbortController();
        client.uploader.pause();
        const waiting = client.upload(file(), { signal: stop.signal }).catch(reason);
        stop.abort();
        const stopped = await waiting;
        client.uploader.pause(false);
        const gone = await client.upload(file(), { signal: stop.signal }).catch(reason);
        return [letter, broken, stopped, gone];
        """,
        [letter, broken],
    )
    assert told[0] == {
        "name": "Refused",
        "status": 415,
        "type": "/problems/unsupported-media-type",
    }
    assert told[1] == {"name": "Refused", "status": 422, "type": "/problems/undecodable"}
    assert [each["name"] for each in told[2:]] == ["AbortError", "AbortError"]


@needs_chromium
def test_the_element_is_a_field_of_a_form(elsewhere: Elsewhere) -> None:
    """Its value are the ids; without one it is invalid; a removed photo is deleted."""
    elsewhere.load()
    page = elsewhere.page
    value = "new FormData(document.forms[0]).getAll('photos')"
    is_valid = "document.forms[0].checkValidity()"
    assert page.evaluate(is_valid) is False
    files: Any = [
        {"name": name, "mimeType": "image/jpeg", "buffer": data}
        for name, data in (("one.jpg", PHOTO), ("two.jpg", samples.jpeg(64, 48)), ("letter.jpg", b"Dear Sir"))
    ]
    page.locator("spillway-upload input").set_input_files(files)
    rows = page.locator("spillway-upload li")
    expect(rows).to_have_count(3)
    expect(rows.get_by_text("Uploaded")).to_have_count(2)
    expect(rows.last).to_contain_text("Not an image that is accepted")
    assert page.evaluate(is_valid) is True
    ids = page.evaluate(value)
    assert [elsewhere.service.ended(name)["source"]["name"] for name in ids] == ["one.jpg", "two.jpg"]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Remove one.jpg").click()
    until(lambda: elsewhere.service.get(f"/v1/images/{ids[0]}").status == 404, "the photo to be gone")
    assert page.evaluate(value) == ids[1:]
    page.evaluate("document.forms[0].reset()")
    expect(rows).to_have_count(0)
    assert page.evaluate(is_valid) is False


@needs_chromium
def test_photos_are_dropped_on_the_element_and_come_back_with_the_page(elsewhere: Elsewhere) -> None:
    """A drop is a choice, unless the field is disabled; whoever goes back in history finds the photos."""
    elsewhere.load()
    page = elsewhere.page
    rows = page.locator("spillway-upload li")
    drop(page, {"one.jpg": PHOTO, "two.jpg": samples.jpeg(64, 48)}, "spillway-upload")
    expect(rows.get_by_text("Uploaded")).to_have_count(2)
    value = page.evaluate("document.querySelector('spillway-upload').value")
    page.evaluate("document.querySelector('spillway-upload').toggleAttribute('disabled', true)")
    drop(page, {"three.jpg": PHOTO}, "spillway-upload")
    expect(rows).to_have_count(2)
    page.goto("about:blank")
    page.go_back()
    page.evaluate(BEGIN, [f"{elsewhere.service.url}/client.js", ""])
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("one.jpg")
    assert page.evaluate("document.querySelector('spillway-upload').value") == value
    assert page.evaluate("document.forms[0].checkValidity()") is True


@needs_chromium
def test_a_full_queue_gives_a_preview_to_whoever_asks_for_one(elsewhere: Elsewhere) -> None:
    """It is told as a refusal with a picture; then the photo itself is sent again, and is accepted."""
    elsewhere.load()
    with elsewhere.service.paused():
        assert [elsewhere.service.upload().status_code for _ in range(2)] == [202, 202]
        told = elsewhere.run(
            """
            window.states = new Set();
            client.uploader.addEventListener("change", ({ detail }) => states.add(detail.state));
            return new Promise((onRefused) => {
              window.ended = client.upload(file(), { lenient: true, onRefused }).then(client.wait);
            });
            """
        )
    assert (told["status"], told["guard"], told["preview"]["kind"]) == (200, "queue", "placeholder")
    done = elsewhere.run("return { job: await ended, states: [...states] };")
    assert done["job"]["status"] == "done"
    assert {"degraded", "accepted"} <= set(done["states"])
    assert "refused" not in done["states"]


def test_the_types_fit_the_program_of_a_user(tmp_path: Path) -> None:
    """The compiler takes it in its strictest mode, and rejects what is marked as wrong."""
    source = copy_source("front-end.ts", tmp_path)
    (tmp_path / "client.d.ts").write_text(CLIENT.read_text())
    strictly = ("--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noEmit")
    modern = ("--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run_node(packages() / "typescript/bin/tsc", *strictly, *modern, source.name, folder=tmp_path)


def test_the_types_name_what_the_module_exports() -> None:
    """No more and no less, but for interfaces."""
    declared = re.findall(r"^export declare (?:class|const|function) (\w+)", CLIENT.read_text(), re.MULTILINE)
    module = CLIENT.with_name("client.js").read_text()
    assert set(declared) == set(re.findall(r"^export (?:class|const) (\w+)", module, re.MULTILINE))
