"""The uploaders of other people (uppy, Dropzone, FilePond), in Chromium, on a page of another origin."""

import base64
from collections.abc import Iterator
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
_UPLOAD = """
([name, endpoint, packed, padding]) => {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const file = new File([bytes, new Uint8Array(padding)], "photo.jpg", { type: "image/jpeg" });
  return window.uploaders[name](endpoint, file);
}
"""


class Elsewhere:
    """A service, and the page of another origin from which it is used."""

    def __init__(self, service: Service, page: Page) -> None:
        self.service = service
        self._page = page

    def upload(self, uploader: str, padding: int = 0) -> Any:
        """Upload a photo, with so many bytes behind it: the status and body that the uploader was told."""
        packed = base64.b64encode(samples.jpeg(320, 240)).decode()
        return self._page.evaluate(_UPLOAD, [uploader, f"{self.service.url}/v1/images", packed, padding])


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """One page and one service for all tests here; the service lets that page call, and no other."""
    folder = tmp_path_factory.mktemp("elsewhere")
    script = bundle(copy_source("uploaders.js", folder))
    settings = {"max_upload_bytes": LIMIT, "rate": 50, "burst": 100}
    with (
        foreign_page(folder, script) as origin,
        browsing() as browser,
        serving(tmp_path_factory.mktemp("service"), cors_origins=origin, **settings) as service,
    ):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(origin)
        yield Elsewhere(service, page)
        page.close()


@pytest.mark.parametrize("uploader", UPLOADERS)
def test_a_photo_arrives(elsewhere: Elsewhere, uploader: str) -> None:
    """With the header fields that the uploader adds, for which the browser asks first (a preflight)."""
    told = elsewhere.upload(uploader)
    assert told["status"] == 202
    assert elsewhere.service.ended(told["body"]["id"])["status"] == "done"


@pytest.mark.parametrize("uploader", UPLOADERS)
def test_a_refusal_is_told(elsewhere: Elsewhere, uploader: str) -> None:
    """The problem of a file that is far too large reaches the uploader, though the browser reads late."""
    told = elsewhere.upload(uploader, 90 * 10**6)
    assert told["status"] == 413
    assert told["body"]["type"] == "/problems/too-large"
