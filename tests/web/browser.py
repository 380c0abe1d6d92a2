"""A headless Chromium that is installed here, for the tests of the page and for its pictures."""

import base64
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.service import PATIENCE

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = PATIENCE * 1000

DROP = """
([photos, target]) => {
  const data = new DataTransfer();
  for (const [name, packed] of photos) {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  const options = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.querySelector(target).dispatchEvent(new DragEvent(type, options));
  }
}
"""


def chromium() -> str | None:
    """The path of the installed browser, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A context with a running browser."""
    with sync_playwright() as playwright:
        # Its own sandbox wants a user other than root, and the pages are all ours.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def watched_page(browser: Browser, faults: list[str]) -> Page:
    """An empty page; errors in its console and exceptions of its scripts are added to `faults`."""
    page = browser.new_page(reduced_motion="reduce")
    page.set_default_timeout(PATIENCE_MS)
    page.on("filechooser", lambda _: None)  # asked for late, one that opens at once would be missed
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    return page


def choose(page: Page, photos: Mapping[str, bytes]) -> None:
    """Select photos in the file chooser, as by pressing the button."""
    files = [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in photos.items()]
    with page.expect_file_chooser() as chooser:
        page.locator(".pick").click()
    chooser.value.set_files(files)  # type: ignore[arg-type]  # a list of dicts is what it takes


def drop(page: Page, photos: Mapping[str, bytes], target: str = "body") -> None:
    """Drop photos on an element, which is the whole page unless a selector names another."""
    packed = [[name, base64.b64encode(data).decode()] for name, data in photos.items()]
    page.evaluate(DROP, [packed, target])
