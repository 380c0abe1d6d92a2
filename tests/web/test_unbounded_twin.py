"""The service whose queue has no bound: it takes what comes, and is killed when its memory is used up."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from app.web.unbounded_twin import UnboundedTwin
from tests.service import SMALL, until


async def _until(condition: Callable[[], Any]) -> None:
    await asyncio.to_thread(until, condition, "the figures", 60)


def test_it_takes_and_makes_photos_until_it_is_ended() -> None:
    """What it took is counted, and after the block its process is gone."""
    twin = UnboundedTwin()

    async def use() -> str:
        async with twin.running() as url:
            assert url is not None
            async with httpx.AsyncClient() as client:
                answers = [await client.post(f"{url}/upload", content=SMALL) for _ in range(3)]
            assert {answer.status_code for answer in answers} == {202}
            await _until(lambda: (twin.snapshot() or {}).get("done") == 3)
            return url

    url = asyncio.run(asyncio.wait_for(use(), 60))
    figures = twin.snapshot()
    assert figures is not None
    assert (figures["accepted"], figures["lost"], figures["died"]) == (3, 0, False)
    try:
        httpx.get(url)
    except httpx.ConnectError:
        return
    raise AssertionError("it still answers")


def test_it_dies_when_its_memory_is_used_up() -> None:
    """As the kernel ends a container at its limit; its address answers no more."""
    twin = UnboundedTwin(max_bytes=1)

    async def use() -> None:
        async with twin.running():
            await _until(lambda: (twin.snapshot() or {}).get("died"))

    asyncio.run(asyncio.wait_for(use(), 60))
    assert twin.snapshot() is not None
