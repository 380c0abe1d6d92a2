"""The settings of webhooks: what is refused at the start, and that nothing secret is shown."""

from pathlib import Path
from typing import get_args

import pytest

from app.setting_values import WebhookEvent
from app.settings import load_settings
from app.webhooks.events import EventType
from tests.service import run
from tests.settings_error import complaint
from tests.webhooks.receiver import OTHER_SECRET, SECRET

URL = "https://backend.example/hooks"
NOWHERE = f"{'a' * 64}.example"
"""A name that no resolver has to be asked for: a part of it is too long."""


@pytest.fixture(autouse=True)
def environment(bare_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with no settings."""
    return bare_environment


@pytest.mark.parametrize(
    "url",
    [
        *(URL, "https://203.0.113.7:8443/x?y=1", "http://localhost:9000", "http://127.3.2.1/"),
        *("http://10.1.2.3:1/", "http://172.31.0.1", "http://192.168.1.1", "http://[::1]:9000/"),
        *("http://[fd00::1]/", "http://[::ffff:10.0.0.1]/", "http://backend:9000/hooks"),
    ],
)
def test_a_url_is_encrypted_or_may_be_private(url: str) -> None:
    """A name with http:// is taken: its address is checked whenever it is connected to."""
    assert load_settings(webhook_url=url, webhook_secret=SECRET).webhook_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://203.0.113.7/", "http://8.8.8.8", "http://169.254.169.254/", "http://[2001:db8::1]/"),
        *("http://172.32.0.1/", "http://[::ffff:8.8.8.8]/", "http://0.0.0.0/", "http://[fe80::1]/"),
        *("ftp://backend.example", "backend.example/hooks", "https://", "https:///x", "https://a:99999/"),
        *("https://a:0/", f"{URL}#part", "https://a/b c", "https://ä.example/", f"{URL}{'x' * 2048}"),
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """The line names the setting."""
    assert "SPILLWAY_WEBHOOK_URL" in complaint(webhook_url=url, webhook_secret=SECRET)


def test_secrets_are_of_24_to_64_bytes_and_never_shown() -> None:
    """Several are separated by spaces; the line about a bad one says which, not what it is."""
    load_settings(webhook_url=URL, webhook_secret=f" {SECRET}  {OTHER_SECRET.rstrip('=')} ")
    short, long = "whsec_" + "QUJD" * 7, "whsec_" + "QUJD" * 22
    for bad in (short, long, SECRET.removeprefix("whsec_"), "whsec_", "whsec_????", "hunter2hunter2"):
        line = complaint(webhook_url=URL, webhook_secret=f"{SECRET} {bad}")
        assert "SPILLWAY_WEBHOOK_SECRET" in line
        assert "secret 2 of 2" in line
        assert bad.removeprefix("whsec_") not in line.replace("secret 2", "") or bad == "whsec_"
        assert SECRET not in line


def test_a_url_without_a_secret_and_a_secret_without_a_url_are_refused() -> None:
    """Each line says what is missing."""
    assert "needs WEBHOOK_SECRET" in complaint(webhook_url=URL)
    assert "without WEBHOOK_URL" in complaint(webhook_secret=SECRET)


def test_events_are_a_subset_of_those_there_are() -> None:
    """The names of the settings are those of the code."""
    assert set(get_args(WebhookEvent)) == set(EventType)
    assert load_settings(webhook_events="image.done, image.expired").webhook_events == (
        "image.done",
        "image.expired",
    )
    assert "WEBHOOK_EVENTS" in complaint(webhook_events="image.done,image.gone")


def test_check_shows_no_secret_and_looks_for_the_receiver(tmp_path: Path) -> None:
    """Password, token and secrets are left out; a host that has no address does not fit."""
    given = {"webhook_url": "http://user:hunter2@localhost:9/hooks?token=sesame", "webhook_secret": SECRET}
    found = run("check", folder=tmp_path, **given)
    shown = found.stdout + found.stderr
    assert "SPILLWAY_WEBHOOK_URL=http://***@localhost:9/hooks?***" in shown
    assert "webhooks go to localhost (" in shown
    lost = run(
        "check", folder=tmp_path, **{**given, "webhook_url": f"https://user:hunter2@{NOWHERE}/?sesame"}
    )
    assert lost.returncode == 1
    assert f"webhooks cannot be delivered: {NOWHERE} cannot be resolved" in lost.stderr
    bad = complaint(webhook_url="http://user:hunter2@8.8.8.8/?sesame", webhook_secret=SECRET)
    for text in (shown, lost.stdout, lost.stderr, bad):
        assert "hunter2" not in text
        assert "sesame" not in text
        assert SECRET not in text
