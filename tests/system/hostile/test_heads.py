"""Heads that are slow, large, many or strange; forged addresses; paths that try to reach other files."""

import contextlib
import os
import random
import socket
import time
from contextlib import ExitStack, suppress
from urllib.parse import quote

import pytest

from tests.service import Service, fresh_address, until
from tests.system.hostile.conftest import PROXIES, Honest

PROXY = PROXIES.replace("0.0/16", "0.1")


class TestSlow:
    """Slow heads and bodies hold up nobody. That they are ended is tested elsewhere."""

    def test_heads_hold_up_nobody(self, fortress: Service, honest: Honest) -> None:
        """Three hundred heads trickle in, and the honest client is served."""
        usual = honest.usual()
        before, idle = fortress.memory(), fortress.sockets()
        with ExitStack() as stack:
            slow = [stack.enter_context(fortress.connect()) for _ in range(300)]
            for number, connection in enumerate(slow):
                connection.send(b"POST /v1/images HTTP/1.1\r\nHost: a\r\nX-%d: " % number)
            served = honest.served
            while honest.served < served + 3:
                for connection in slow:
                    with suppress(OSError):  # its deadline has passed
                        connection.send(b"x")
            assert honest.slowest < max(5, 10 * usual)
            assert fortress.memory() - before < 30 * 2**20
        until(lambda: fortress.sockets() <= idle + 2, "the sockets to be closed")

    def test_bodies_hold_slots_and_nothing_else(self, fortress: Service, honest: Honest) -> None:
        """Sixty uploads trickle in, and the honest client gets a receiving slot."""
        usual = honest.usual()
        with ExitStack() as stack:
            for _ in range(60):
                connection = stack.enter_context(fortress.connect())
                connection.head("POST /v1/images", "Content-Type: image/jpeg", "Content-Length: 500000")
                connection.send(b"\xff\xd8\xff\xe0" + bytes(100))
            until(
                lambda: fortress.stats()["backlog"]["receiving"] >= 50, "the uploads to hold receiving slots"
            )
            served = honest.served
            until(lambda: honest.served >= served + 3, "the honest client to be served")
            assert honest.slowest < max(5, 10 * usual)
        until(lambda: fortress.stats()["backlog"]["receiving"] <= 1, "the slots to be free again")


@pytest.mark.usefixtures("honest")
class TestBombs:
    """Heads of extreme size or number."""

    def test_of_every_kind(self, fortress: Service) -> None:
        """431, or 400 for what is not a head, as soon as that is clear; no memory stays in use."""
        bombs = {
            "many fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 100_000,
            "a long field": b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"A" * 8_000_000,
            "a long name": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A" * 8_000_000,
            "a long target": b"GET /" + b"A" * 8_000_000,
            "a long query": b"GET /v1/stats?" + b"a=b&" * 2_000_000,
            "a long method": b"A" * 8_000_000,
            "empty lines": b"\r\n" * 4_000_000,
            "large trailers": b"POST /v1/quota HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"A: b\r\n" * 1_000_000,
        }
        before = fortress.memory()
        for name, bomb in bombs.items():
            with fortress.connect() as connection:
                try:
                    connection.send(bomb)
                except (BrokenPipeError, ConnectionResetError):
                    continue  # the server answered and closed while the client still wrote
                answer = connection.answer()
                assert answer.status in (400, 405, 408, 413, 414, 415, 431), (name, answer)
                assert answer.headers["content-type"] == "application/problem+json", name
        assert fortress.memory() - before < 30 * 2**20

    def test_queries_within_the_limit(self, fortress: Service) -> None:
        """A target as long as it may be is read and answered."""
        for query in (
            "variants=" + "a," * 4000,
            "&".join("variants=thumb" for _ in range(500)),
            "%" * 8000,
        ):
            with fortress.connect() as connection:
                connection.head(f"POST /v1/images?{query}", "Content-Type: image/jpeg", "Content-Length: 0")
                assert connection.answer().status == 400
                connection.head(f"GET /v1/stats?{query}")
                assert connection.answer().status == 200

    def test_junk_in_a_row(self, fortress: Service) -> None:
        """Whatever is sent in a pipeline, the service answers or closes the connection, and goes on."""
        chance = random.Random(5)  # noqa: S311 - it makes junk
        pieces = [
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
            b"DELETE /v1/images/x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            b"0\r\n\r\n",
            b"\r\n\r\n",
            b"\0\xff\xfe",
            b"Transfer-Encoding: chunked\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
        with ExitStack() as stack:
            clients = [stack.enter_context(fortress.connect()) for _ in range(150)]
            for client in clients:
                client.send(b"".join(chance.choices(pieces, k=chance.randrange(1, 40))))
                client.socket.shutdown(socket.SHUT_WR)
            for client in clients:
                while client.socket.recv(65_536):
                    pass
        assert fortress.get("/healthz").status == 200

    def test_a_thousand_requests_at_once(self, fortress: Service) -> None:
        """Each is answered in order, and their memory is returned."""
        before = fortress.memory()
        with fortress.connect() as connection:
            connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
            sizes = {len(connection.answer().body) for _ in range(1000)}
            assert len(sizes) == 1
        assert fortress.memory() - before < 30 * 2**20

    def test_requests_without_end(self, fortress: Service, honest: Honest) -> None:
        """Whoever sends requests for ever, and reads the answers, takes no memory and holds up nobody."""
        requests = b"GET /v1/quota HTTP/1.1\r\nHost: a\r\n\r\n" * 5000
        before = fortress.memory()
        with fortress.connect() as connection:
            connection.socket.setblocking(False)
            sent, served = 0, honest.served
            end = time.monotonic() + 1.5
            while time.monotonic() < end or honest.served == served:
                with contextlib.suppress(BlockingIOError):
                    sent = (sent + connection.socket.send(requests[sent:])) % len(requests)
                with contextlib.suppress(BlockingIOError):
                    assert connection.socket.recv(2**20)
            assert fortress.memory() - before < 20 * 2**20
            assert honest.slowest < 5


class TestAddresses:
    """A client that claims many addresses is still one client."""

    def test_spoofed(self, strict: Service) -> None:
        """Header fields that name other addresses buy no token, however they are written."""
        address = fresh_address()
        fields = [
            "X-Forwarded-For: 203.0.113.{0}",
            "Forwarded: for=203.0.113.{0}",
            "X-Real-IP: 203.0.113.{0}",
            "X-Client-IP: 203.0.113.{0}",
            "CF-Connecting-IP: 203.0.113.{0}",
            "True-Client-IP: 203.0.113.{0}",
        ]
        with strict.connect(address) as connection:
            statuses = []
            for number in range(250):
                field = fields[number % len(fields)].format(number)
                connection.head("POST /v1/images", "Content-Type: text/plain", "Content-Length: 0", field)
                statuses.append(connection.answer().status)
        assert statuses.count(429) > 50

    def test_spoofed_behind_a_proxy(self, strict: Service) -> None:
        """What a client wrote before the proxy added its address is not believed."""
        with strict.connect(PROXY) as connection:
            statuses = []
            for number in range(250):
                chain = f"X-Forwarded-For: 198.51.100.{number}, 2001:db8::{number}, 203.0.113.77"
                connection.head("POST /v1/images", "Content-Type: text/plain", "Content-Length: 0", chain)
                statuses.append(connection.answer().status)
        assert statuses.count(429) > 50

    def test_of_ever_new_networks(self, strict: Service) -> None:
        """Of thousands of IPv6 networks no more are remembered, or let in, than the table allows."""
        network = int.from_bytes(os.urandom(2), "big")
        before = strict.memory()
        with strict.connect(PROXY) as connection:
            for first in range(0, 3000, 100):
                batch = b"".join(
                    b"POST /v1/images HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
                    b"Content-Length: 0\r\nX-Forwarded-For: 2001:%x:%x:%x::1\r\n\r\n"
                    % (network >> 12, network & 0xFFF, number)
                    for number in range(first, first + 100)
                )
                connection.send(batch)
                for _ in range(100):
                    assert connection.answer().status in (415, 429)
        limiter = strict.stats()["limiter"]
        assert limiter["clients"] <= limiter["capacity"] == 2000
        assert strict.memory() - before < 20 * 2**20


FILES = ("secret", "lock", "note", "job.json", "source", "thumb.jpg")
ODD_NAMES = (".", "..", "../secret", "../../../secret", "thumb/../../secret", "thumb\\x", "thumb\0", "thumb ")
ODDER_NAMES = (
    "/etc/passwd",
    "%2e%2e/secret",
    "thumb%00.jpg",
    "..;/secret",
    "\u202ethumb",
    "THUMB",
    "a" * 8000,
)


@pytest.mark.usefixtures("honest")
def test_paths_lead_nowhere(fortress: Service) -> None:
    """Ids and names of variants reach no file but the variants themselves."""
    made = fortress.upload(prefer="wait=20").json()
    own, job_id = made["links"]["self"], made["id"]
    names = [*FILES, *ODD_NAMES, *ODDER_NAMES]
    ids = [job_id.upper(), job_id[:-1], f"{job_id}0", f"{job_id[:2]}/{job_id}", "\uff41" * 32]
    paths = [f"{own}/{name}" for name in names]
    paths += [f"{own}/{quote(name, safe='')}" for name in names]
    paths += [f"/v1/images/{quote(each, safe='')}" for each in (*ids, *names)]
    paths += [f"/v1/images/{quote(each, safe='')}/thumb" for each in ids]
    paths += ["/v1/images/", "/v1/images", "/static/", "/static/../main.py", "/problems/../docs"]
    for path in paths:
        with fortress.connect() as connection:
            connection.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.replace(" ", "%20").encode())
            answer = connection.answer()
            assert answer.status in (400, 404, 405), (path, answer.status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert str(fortress.folder).encode() not in answer.body
    assert fortress.get(f"{own}/thumb").status == 200
