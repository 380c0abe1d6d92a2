"""A stampede is aimed at loopback and private addresses only; anything else is one line of error."""

import re
import socket
from pathlib import Path

import pytest

from app.stampede.target import BadTarget, may_be_flooded, resolve
from tests.service import run


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.255.0.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.254",
            "192.168.1.1",
            "169.254.7.7",
        ),
        *("169.254.7.7", "::1", "fd12::1", "fe80::1%eth0", "::ffff:192.168.1.1"),
    ],
)
def test_loopback_private_and_link_local_addresses_may_be_flooded(address: str) -> None:
    """They belong to the person who runs the stampede."""
    assert may_be_flooded(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "172.15.0.1", "172.32.0.1", "192.0.2.1", "100.64.0.1", "198.18.0.1", "0.0.0.0"),  # noqa: S104
        *("2001:db8::1", "2606:4700::1111", "::ffff:8.8.8.8", "::", "ff02::1"),
    ],
)
def test_no_other_address_may_be_flooded(address: str) -> None:
    """Public, shared, reserved and documentation addresses are refused."""
    assert not may_be_flooded(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://8.8.8.8:8000", "8.8.8.8 is neither loopback nor private"),
        ("http://[2606:4700::1111]", "is neither loopback nor private"),
        ("https://127.0.0.1", "is not of the form http://HOST:PORT"),
        ("127.0.0.1:8000", "is not of the form http://HOST:PORT"),
        ("http://", "is not of the form http://HOST:PORT"),
        ("http://127.0.0.1:99999", "is no URL"),
        ("http://127.0.0.1/v1/images", "is not of the form http://HOST:PORT"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, reason: str) -> None:
    """The error comes before anything is sent."""
    with pytest.raises(BadTarget, match=re.escape(reason)):
        resolve(url)


def test_a_public_address_is_one_clear_line(tmp_path: Path) -> None:
    """There is no traceback, and the exit status is 2."""
    ended = run("stampede", "http://8.8.8.8:8000", folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        "spillway: 8.8.8.8 is neither loopback nor private: a stampede is for one's own machines\n"
    )


def test_a_name_with_one_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused whichever of its addresses would be used."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(BadTarget, match=r"mixed.test \(93.184.216.34\) is neither"):
        resolve("http://mixed.test")


def test_a_server_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """Without a server nothing is sent."""
    with socket.socket() as bound:  # bound but not listening: refused for sure
        bound.bind(("127.0.0.1", 0))
        ended = run("stampede", f"http://127.0.0.1:{bound.getsockname()[1]}", folder=tmp_path)
    assert ended.returncode == 2
    assert "no server answers at http://127.0.0.1:" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_unknown_act_is_told_the_known_ones(tmp_path: Path) -> None:
    """The error lists the names of all acts."""
    ended = run("stampede", "http://127.0.0.1:1", "--act", "ballet", folder=tmp_path)
    assert ended.returncode == 2
    assert (
        "there is no act 'ballet'; there are bully, crowd, patient, impatient, lenient, slow" in ended.stderr
    )


def test_only_ipv4_loopback_has_a_crowd_of_addresses() -> None:
    """All of 127.0.0.0/8 is this machine; other targets see the one address that the system chooses."""
    assert len(set(resolve("http://127.0.0.1:8000")[0].sources(0))) == 1000
    assert resolve("http://[::1]:8000")[0].sources(0) == [None]
    assert resolve("http://10.0.0.1:8000")[0].sources(0) == [None]
