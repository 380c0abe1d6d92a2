"""`make screenshots`: pictures of the page at rest, under pressure and in a brownout, for docs/pictures."""

import math
import re
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from tests.service import Service, serving
from tests.web.browser import PATIENCE_MS, browsing, choose, chromium

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DESK, PHONE = (1440, 1160), (390, 844)
MAX_BYTES = 200_000
_SKY = ((74, 250), (104, 190), (150, 132))
_HILLS = ((120, 108, 140), (72, 84, 118), (34, 66, 90), (12, 44, 58))
_SIZES = ((2016, 1512), (1512, 2016), (2400, 1350))


def main() -> None:
    """Take all pictures, each of a service of its own."""
    if chromium() is None:
        sys.exit("No Chromium is installed here (Debian, Ubuntu: apt install chromium).")
    expect.set_options(timeout=PATIENCE_MS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    photos = {f"IMG_{4021 + place}.jpg": landscape(*size) for place, size in enumerate(_SIZES)}
    with browsing() as browser:
        for take in (idle, pressure, brownout):
            with tempfile.TemporaryDirectory() as folder, shown(Path(folder)) as service:
                take(browser, service, photos)


def shown(folder: Path) -> AbstractContextManager[Service]:
    """A demonstration with default settings."""
    return serving(folder, demo=True, workers=2)


def idle(browser: Browser, service: Service, photos: dict[str, bytes]) -> None:
    """Some photos are done, and nothing else happens."""
    page = visit(browser, service, DESK, "light")
    choose(page, photos)
    expect(page.locator(".grid li")).to_have_count(len(photos))
    page.wait_for_timeout(15_000)
    keep(page, "idle")


def pressure(browser: Browser, service: Service, photos: dict[str, bytes]) -> None:
    """One's own photos in a crowd: they wait for reserved places, and the bully is told 429."""
    page = visit(browser, service, DESK, "dark")
    play(page, "bully", 6_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-act=crowd]")).to_have_attribute("aria-disabled", "false")
    play(page, "crowd", 0)
    expect(page.locator('[data-figure="refusals.queue"]')).to_have_text(re.compile("^[1-9]"))
    page.wait_for_timeout(2_000)
    choose(page, photos)
    page.wait_for_timeout(2_500)
    keep(page, "pressure")


def brownout(browser: Browser, service: Service, photos: dict[str, bytes]) -> None:
    """On a phone: the smallest sizes are made now, the others later."""
    page = visit(browser, service, PHONE, "light")
    play(page, "patient", 1_000)
    expect(page.locator("#mood p")).to_have_text("Brownout")
    page.wait_for_timeout(3_000)
    page.locator("#queue").evaluate("(stage) => stage.scrollIntoView({ block: 'start' })")
    page.wait_for_timeout(1_000)
    keep(page, "brownout")


def play(page: Page, act: str, milliseconds: float) -> None:
    """Start an act, and wait for its effect."""
    button = page.locator(f"[data-act={act}]")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(milliseconds)


def landscape(width: int, height: int) -> bytes:
    """A generated photo: evening over hills and water."""
    sky = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", [sky.point(lambda v, a=a, b=b: a + (b - a) * v // 255) for a, b in _SKY])
    draw = ImageDraw.Draw(image)
    sun = height // 11
    draw.circle((width * 0.68, height * 0.42), sun, fill=(255, 226, 170))
    for layer, colour in enumerate(_HILLS):
        base, swing = height * (0.5 + 0.11 * layer), height * 0.1
        ridge = [
            (x, base + swing * math.sin(x / width * (5 + 2 * layer) + layer * 2.1) * math.cos(x / width * 3))
            for x in range(0, width + 9, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour)
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def visit(browser: Browser, service: Service, size: tuple[int, int], scheme: str) -> Page:
    """The page of a service in a window of this size."""
    window = {"width": size[0], "height": size[1]}
    page = browser.new_context(viewport=window, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    page.on("filechooser", lambda _: None)
    page.goto(service.url)
    return page


def keep(page: Page, name: str) -> None:
    """Write a screenshot as a picture of at most MAX_BYTES."""
    image = Image.open(BytesIO(page.screenshot()))
    path = FOLDER / f"{name}.webp"
    for quality in (90, 80, 70, 60):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size <= MAX_BYTES:
            break
    print(f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.0f} s")
