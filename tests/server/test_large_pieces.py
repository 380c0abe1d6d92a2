"""Bodies of a declared length that are read fast, over a socket pair and on a clock that leaps."""

import asyncio
import random
from hashlib import sha256

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.client_connection import connection_of
from app.server.read_buffer import LARGE_PIECE
from tests.server.test_connection import GET, UPLOAD, Client, connected

pytestmark = pytest.mark.anyio


class Seeded(random.Random):
    """Choices that are the same in every run; `fast` is the share of pieces after which reading is fast."""

    def __init__(self, seed: int, fast: float = 0.8) -> None:
        super().__init__(seed)
        self.fast = fast


BODY = Seeded(1).randbytes(2 * LARGE_PIECE + 12_345)


def reader(chance: Seeded, messages: list[int]) -> ASGIApp:
    """An application that reads a body fast now and then, and answers with its digest.

    It takes time over each piece before it looks at the bytes. `messages` gets the lengths of the pieces.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        connection, digest, more = connection_of(scope), sha256(), scope["method"] == "POST"
        while more:
            try:
                async with asyncio.timeout(0.05 if connection.fast_reading else 100):
                    message = await receive()
            except TimeoutError:
                connection.fast_reading = False
                continue
            assert message["type"] == "http.request"
            await asyncio.sleep(chance.choice((0, 0.01)))
            digest.update(message["body"])
            messages.append(len(message["body"]))
            more = message["more_body"]
            connection.fast_reading = chance.random() < chance.fast
        connection.fast_reading = False
        await Response(digest.hexdigest())(scope, receive, send)

    return app


async def send_cut(client: Client, data: bytes, chance: Seeded) -> None:
    """Send data in pieces of all sizes, with pauses between some of them."""
    while data:
        size = chance.choice((10, 1000, 100_000, LARGE_PIECE))
        client.send(data[:size])
        data = data[size:]
        if chance.random() < 0.3:
            await asyncio.sleep(chance.choice((0, 0.04, 0.2)))


@pytest.mark.parametrize("seed", range(6))
async def test_a_body_is_the_same_however_it_is_read(seed: int) -> None:
    """Fast or not, in whichever pieces it comes; and the request behind it is the next one."""
    chance = Seeded(seed)
    async with connected(reader(chance, [])) as client:
        for body in (BODY, BODY[: LARGE_PIECE + 1], BODY[:5000]):
            head = UPLOAD + b"%d\r\n\r\n" % len(body)
            sending = asyncio.create_task(send_cut(client, head + body + GET, chance))
            assert await client.answer() == (200, sha256(body).hexdigest().encode())
            assert await client.answer() == (200, sha256(b"").hexdigest().encode())
            await sending


async def test_a_body_that_is_there_comes_in_few_pieces() -> None:
    """Once it is read fast, each piece but the last is as long as a piece may be."""
    messages: list[int] = []
    async with connected(reader(Seeded(0, fast=1.0), messages)) as client:
        client.send(UPLOAD + b"%d\r\n\r\n" % len(BODY) + BODY)
        assert (await client.answer())[0] == 200
        assert sum(messages) == len(BODY)
        assert len(messages) <= 4
        assert messages[-2] == LARGE_PIECE
