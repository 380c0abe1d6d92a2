"""Lingering close: bounded in descriptors, in all and for each address."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.server.head_checks import UNKNOWN_LENGTH
from app.server.lingering_close import LONG_BODY, LONG_MIN_RATE, LONG_TIMEOUT_S, MAX_LONG, LingeringClose

pytestmark = pytest.mark.anyio

ANSWER = b"refused"


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Refused:
    """A client that was answered, and may still send."""

    def __init__(self, ours: socket.socket, transport: asyncio.Transport) -> None:
        self.socket = ours
        self.transport = transport

    @classmethod
    async def of(cls, stack: ExitStack) -> "Refused":
        """A connection on which the whole answer has been written."""
        here, there = socket.socketpair()
        stack.enter_context(here)
        here.setblocking(False)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, there)
        transport.write(ANSWER)
        return cls(here, transport)

    def send(self, size: int = 10_000) -> None:
        """Send a piece of the body."""
        assert self.socket.send(bytes(size)) == size

    async def goes_on(self, size: int, every_s: float, seconds: float) -> bool:
        """Whether the connection is still open after it has sent a piece again and again for so long."""
        for _ in range(int(seconds / every_s)):
            if self.transport.is_closing():
                return False
            self.send(size)
            await asyncio.sleep(every_s)
        return not self.transport.is_closing()

    def read(self) -> bytes:
        """The answer, once more has been sent."""
        return self.socket.recv(100)


async def linger(
    closing: LingeringClose, peers: list[str], stack: ExitStack, body_left: int = UNKNOWN_LENGTH
) -> list[Refused]:
    """Connections of these addresses, handed over."""
    clients = [await Refused.of(stack) for _ in peers]
    for client, peer in zip(clients, peers, strict=True):
        closing.add(client.transport, peer, body_left)
    await asyncio.sleep(0.1)
    return clients


async def test_a_client_that_still_sends_reads_its_answer() -> None:
    """What it sends is read; when it has seen the end, the connection ends."""
    with ExitStack() as stack:
        [client] = await linger(LingeringClose(2**20, 10), ["a"], stack)
        for _ in range(10):
            client.send()
            await asyncio.sleep(0.1)
        assert client.read() == ANSWER
        assert client.read() == b""
        client.socket.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.1)
        assert client.transport.is_closing()


@pytest.mark.parametrize(
    ("body_left", "piece", "every_s", "seconds", "open_"),
    [
        (500_000, 50_000, 0.1, 1, True),
        (UNKNOWN_LENGTH, 50_000, 0.1, 1, False),
        (LONG_BODY + 1, 50_000, 0.1, 1, False),
        (500_000, 50_000, 0.1, 2, False),
        (LONG_BODY, LONG_MIN_RATE // 8, 0.1, LONG_TIMEOUT_S - 1, True),
        (LONG_BODY, LONG_MIN_RATE // 8, 0.1, LONG_TIMEOUT_S + 1, False),
        (LONG_BODY, LONG_MIN_RATE // 4, 0.5, 20, False),
        (LONG_BODY, 50_000, 4, 40, False),
    ],
    ids=["whole", "no length", "too long", "too much", "slow", "too slow", "too little", "pauses"],
)
async def test_a_declared_body_is_read_to_its_end(
    body_left: int, piece: int, every_s: float, seconds: float, open_: bool
) -> None:
    """Beyond the bounds of all others, where its end is near enough and it comes fast enough."""
    with ExitStack() as stack:
        [client] = await linger(LingeringClose(100_000, 10), ["a"], stack, body_left)
        assert await client.goes_on(piece, every_s, seconds) is open_
    await asyncio.sleep(0.1)


async def test_so_many_long_bodies_are_read_to_their_end() -> None:
    """A quarter of them of one address; the others get what a body without a declared length gets."""
    with ExitStack() as stack:
        closing = LingeringClose(10_000, 4 * MAX_LONG)
        peers = ["a"] * (MAX_LONG // 2) + [str(number) for number in range(MAX_LONG)]
        clients = await linger(closing, peers, stack, LONG_BODY)
        for client in clients:
            client.send()
        await asyncio.sleep(0.1)
        still = [
            peer for client, peer in zip(clients, peers, strict=True) if not client.transport.is_closing()
        ]
        assert (still.count("a"), len(still)) == (MAX_LONG // 4, MAX_LONG)
        for client in clients:
            client.socket.close()
        await asyncio.sleep(0.1)
        [client] = await linger(closing, ["a"], stack, LONG_BODY)
        assert await client.goes_on(10_000, 0.1, 1)
    await asyncio.sleep(0.1)


async def test_lingering_takes_no_descriptor_of_its_own() -> None:
    """As many files are open as there are connections, and all are closed in the end."""
    with ExitStack() as stack:
        before = descriptors()
        clients = [await Refused.of(stack) for _ in range(8)]
        opened = descriptors()
        closing = LingeringClose(2**20, 100)
        for client in clients:
            closing.add(client.transport, "a", UNKNOWN_LENGTH)
        await asyncio.sleep(0.1)
        assert descriptors() == opened
        assert not any(client.transport.is_closing() for client in clients)
        await asyncio.sleep(20)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("peers", "lingering"),
    [(["a"] * 20, 4), (["a"] * 10 + ["b"] * 10, 8), ([str(number) for number in range(40)], 16)],
    ids=["one address", "two", "many"],
)
async def test_so_many_linger_and_the_others_are_closed_at_once(peers: list[str], lingering: int) -> None:
    """A quarter of all may be of one address; when they have ended, others may linger."""
    with ExitStack() as stack:
        closing = LingeringClose(2**20, 16)
        for _ in range(2):
            clients = await linger(closing, peers, stack)
            assert sum(not client.transport.is_closing() for client in clients) == lingering
            await asyncio.sleep(20)
            assert all(client.transport.is_closing() for client in clients)


async def test_a_connection_that_is_closed_meanwhile_is_let_alone() -> None:
    """Its descriptor may be another file by then."""
    with ExitStack() as stack:
        [client] = await linger(LingeringClose(2**20, 10), ["a"], stack)
        client.transport.abort()
        others = [await Refused.of(stack) for _ in range(3)]
        for other in others:
            other.send()
        await asyncio.sleep(1)
        assert not any(other.transport.is_closing() for other in others)
