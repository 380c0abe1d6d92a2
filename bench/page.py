"""The page on a slow telephone, and with three hundred photos.

    python -m bench.page [--rounds 5]

In a headless Chromium: the first contentful paint with a network of 1.6 Mbit/s and 150 ms and a processor
that is slowed down four times; how long after a reload three hundred remembered photos stand in the grid,
and how many nodes the page has then; and the time between frames while it scrolls through them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page

from tests import samples
from tests.service import Service, serving
from tests.web.browser import browsing

PHOTOS = 300
_PHONE = {"width": 390, "height": 844}
_NETWORK = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 750e3 / 8,
}
_SLOWER = 4
_FRAMES = 180
_SCROLL = """
(frames) => new Promise((resolve) => {
  const times = [];
  const step = (time) => {
    times.push(time);
    scrollTo(0, 40 * times.length);
    if (times.length <= frames) requestAnimationFrame(step);
    else resolve(times.slice(1).map((each, index) => each - times[index]));
  };
  requestAnimationFrame(step);
})
"""


def first_paint_ms(browser: Browser, service: Service) -> float:
    """Milliseconds until the first contentful paint, with nothing in the cache."""
    with browser.new_context(viewport=_PHONE, device_scale_factor=2, is_mobile=True) as context:  # type: ignore[arg-type]
        page = context.new_page()
        slow = context.new_cdp_session(page)
        slow.send("Network.enable")
        slow.send("Network.emulateNetworkConditions", _NETWORK)
        slow.send("Emulation.setCPUThrottlingRate", {"rate": _SLOWER})
        page.goto(service.url)
        page.locator(".ready").wait_for(state="attached")
        return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def shown_ms(page: Page, rounds: int) -> Iterator[float]:
    """Milliseconds from each reload until all photos stand in the grid."""
    for _ in range(rounds):
        page.reload()
        page.locator(".grid li").nth(PHOTOS - 1).wait_for(state="attached")
        yield float(page.evaluate("performance.now()"))


def remember(page: Page, service: Service) -> None:
    """Have the page remember the photos of earlier visits, all with the document of one."""
    job = service.ended(service.upload(samples.jpeg(800, 600)).json()["id"])
    kept = [{"id": f"{number:032x}", "name": f"{number}.jpg", "job": job} for number in range(PHOTOS)]
    page.evaluate("(kept) => localStorage.setItem('spillway.uploads', JSON.stringify(kept))", kept)


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder, serving(Path(folder)) as service, browsing() as browser:
        paints = [first_paint_ms(browser, service) for _ in range(rounds)]
        page = browser.new_page(viewport=_PHONE)  # type: ignore[arg-type]
        page.goto(service.url)
        remember(page, service)
        shown = list(shown_ms(page, rounds))
        nodes = page.evaluate("document.querySelectorAll('*').length")
        frames = sorted(page.evaluate(_SCROLL, _FRAMES))
    print(f"first contentful paint, slow telephone: {median(paints):.0f} ms")
    print(f"{PHOTOS} photos after a reload:          {median(shown):.0f} ms, {nodes} nodes")
    print(f"between frames while scrolling:     {median(frames):.1f} ms, at most {frames[-1]:.1f} ms")


if __name__ == "__main__":
    main()
