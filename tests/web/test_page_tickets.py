"""The page of a service that needs tickets, in a real Chromium."""

import base64
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests import samples
from tests.service import Service, serving
from tests.tickets import SECRET, ticket
from tests.web.browser import PATIENCE_MS, browsing, choose, chromium

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed here")
expect.set_options(timeout=PATIENCE_MS)

PHOTO = samples.jpeg(320, 240)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes uploads with tickets."""
    with serving(tmp_path_factory.mktemp("guarded"), upload_keys=f"app:{SECRET}") as service:
        yield service


def test_photos_wait_for_a_ticket_which_stays_in_memory(browser: Browser, guarded: Service) -> None:
    """Missing, expired and used up are told; a link with a new one lets the same photos go on."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(guarded.url)
    notice, done = page.locator("#ticket"), page.locator(".grid li")
    expect(notice).to_contain_text("Uploads here need a ticket.")
    choose(page, {"one.jpg": PHOTO})
    expect(page.locator(".photo .state")).to_contain_text("Waiting to be sent")

    page.goto(f"{guarded.url}/#ticket={ticket(exp=int(time.time()) - 120)}")
    expect(notice).to_contain_text("has expired")
    page.goto(f"{guarded.url}/#?ticket={ticket(sub='alice', once=True, jti='page', rate=50, burst=70)}")
    expect(done).to_have_count(1)
    expect(notice).to_be_hidden()
    expect(page.locator("#limit")).to_have_text("70")
    assert page.url == f"{guarded.url}/"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "eyJ" not in kept

    choose(page, {"two.jpg": PHOTO})
    expect(notice).to_contain_text("accepted already")
    page.goto(f"{guarded.url}/#ticket={ticket(sub='alice')}")
    expect(done).to_have_count(2)
    page.reload()
    expect(notice).to_contain_text("Uploads here need a ticket.")
    expect(done).to_have_count(2)
    context.close()


def test_the_client_asks_for_another_ticket_if_one_is_refused(browser: Browser, guarded: Service) -> None:
    """A function is asked again, and told why; a plain ticket that is refused ends the upload."""
    page = browser.new_page()
    page.goto(f"{guarded.url}/problems")
    told = page.evaluate(
        """
        async ([packed, expired, good]) => {
          const client = await import("/client.js");
          const file = new File([Uint8Array.from(atob(packed), (c) => c.charCodeAt(0))], "one.jpg");
          const refused = await client.upload(file, { ticket: expired }).catch(({ status }) => status);
          const reasons = [];
          const ticket = async (last) => {
            reasons.push(last?.problem.detail ?? null);
            return last ? good : expired;
          };
          const { id } = await client.upload(file, { ticket });
          const stubborn = await client.upload(file, { ticket: () => expired }).catch(({ status }) => status);
          return { refused, reasons, id, stubborn };
        }
        """,
        [
            base64.b64encode(PHOTO).decode(),
            ticket(exp=int(time.time()) - 120),
            ticket(sub="carol", rate=50, burst=50),
        ],
    )
    assert (told["refused"], told["stubborn"]) == (401, 401)
    assert told["reasons"][0] is None
    assert "has expired" in told["reasons"][1]
    assert guarded.ended(told["id"])["status"] == "done"
    page.close()
