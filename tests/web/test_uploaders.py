"""The uploaders of other people (uppy, Dropzone, FilePond), and ours, on a page of another origin."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests import samples
from tests.javascript import bundle, copy_source
from tests.service import Service, serving
from tests.web.browser import PATIENCE_MS, browsing, chromium
from tests.web.foreign_page import foreign_page

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")

UPLOADERS = ["uppy", "dropzone", "filepond"]
LIMIT = 2**20
DOCS = (Path(__file__).parents[2] / "docs/front-end.md").read_text()
RECIPES = {
    "script": ("Uploading by script", "publish"),
    "uppy": ("uppy", "uppy"),
    "dropzone": ("Dropzone", "dropzone"),
    "filepond": ("FilePond", "pond"),
}
"""File: the heading in the documentation, and the name that its example defines."""
BODY = '<form id="dropzone"></form><input type="file" id="filepond">'
_REFUSED = """
([name, endpoint, packed, padding]) => {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const file = new File([bytes, new Uint8Array(padding)], "photo.jpg", { type: "image/jpeg" });
  return window.uploaders[name](endpoint, file);
}
"""
_TWELVE = """
async (packed) => {
  const file = new File([Uint8Array.from(atob(packed), (c) => c.charCodeAt(0))], "photo.jpg");
  const line = document.createElement("p");
  await Promise.all(Array.from({ length: 12 }, () => window.recipes.publish(file, {}, line)));
}
"""


def example(heading: str) -> str:
    """The first script below a heading of the documentation."""
    section = DOCS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"^```js\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Page]]:
    """A service of few tokens and a small queue, and a page of another origin with the uploaders."""
    folder = tmp_path_factory.mktemp("elsewhere")
    copy_source("uploaders.js", folder)
    entry = copy_source("recipes.js", folder)
    bounds = {"max_upload_bytes": LIMIT, "rate": 20, "burst": 5, "queue_size": 3, "client_share": 1000}
    settings = bounds | {"variants": "large=160,thumb=96"}
    with (
        foreign_page(folder, "recipes.bundle.js", BODY) as origin,
        browsing() as browser,
        serving(tmp_path_factory.mktemp("service"), cors_origins=origin, **settings) as service,
    ):
        for name, (heading, defined) in RECIPES.items():
            script = example(heading).replace("https://photos.example", service.url)
            glue = f"window.recipes = {{ ...window.recipes, {defined} }};"
            (folder / f"{name}.js").write_text(f"{script}\n{glue}\n")
        entry.write_text(f'import "./uploaders.js";\n{entry.read_text()}')
        bundle(entry)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(origin)
        yield service, page
        page.close()


def test_twenty_of_twenty_arrive_under_pressure(elsewhere: tuple[Service, Page]) -> None:
    """By the recipes of the documentation, all four at once for one bucket and a queue of three places."""
    service, page = elsewhere
    page.evaluate("(packed) => sendAll(packed)", base64.b64encode(samples.jpeg(320, 240)).decode())
    all_there = "Object.values(window.arrived).every((ids) => ids.length >= 20)"
    page.wait_for_function(all_there, timeout=3 * PATIENCE_MS)
    arrived = page.evaluate("window.arrived")
    assert {name: len(set(ids)) for name, ids in arrived.items()} == dict.fromkeys(RECIPES, 20)
    jobs, refusals = service.stats()["jobs"], service.stats()["refusals"]
    assert jobs["accepted"] == 80
    assert refusals["rate"] + refusals["queue"] > 0
    assert service.ended(arrived["uppy"][0])["status"] == "done"


def test_few_photos_are_sent_in_vain(elsewhere: tuple[Service, Page]) -> None:
    """`upload()` spaces them by what the first answers say of the bucket."""
    service, page = elsewhere
    before = service.stats()["refusals"].get("rate", 0)
    packed = base64.b64encode(samples.jpeg(64, 48)).decode()
    page.evaluate(_TWELVE, packed)
    assert service.stats()["refusals"].get("rate", 0) <= before + 2


@pytest.mark.parametrize("uploader", UPLOADERS)
def test_a_refusal_is_told(elsewhere: tuple[Service, Page], uploader: str) -> None:
    """The problem of a file that is far too large reaches the uploader, though the browser reads late."""
    service, page = elsewhere
    packed = base64.b64encode(samples.jpeg(320, 240)).decode()
    told: Any = page.evaluate(_REFUSED, [uploader, f"{service.url}/v1/images", packed, 90 * 10**6])
    assert told["status"] == 413
    assert told["body"]["type"] == "/problems/too-large"
