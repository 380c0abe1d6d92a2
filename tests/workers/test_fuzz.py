"""Damaged images of every format, thrown at a real warm child as the pool does it; a few of very many.

`make fuzz` throws more. What such a run found is kept in `found/`, one file each, named by what was wrong.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from app.backpressure.circuit_breaker import CircuitBreaker
from app.engine.worker_pool import WorkerPool
from bench.fuzz.cases import Case, damaged, intact
from bench.fuzz.judge import faults, is_death, outcome
from bench.fuzz.mutations import MUTATIONS
from bench.fuzz.seeds import seeds
from workers.formats import PILLOW_NAMES
from workers.messages import Done, Failed

_SEEDS = seeds()
_INPUTS = 2
"""Damaged files of each seed; of the first numbers of run 0, which no long run repeats."""
_FOUND = sorted((Path(__file__).parent / "found").iterdir())


class Thrower:
    """A pool of one child, and the folder of its jobs."""

    def __init__(self, pool: WorkerPool, loop: asyncio.Runner, folder: Path) -> None:
        self._pool = pool
        self._loop = loop
        self._folder = folder
        self._count = 0

    def throw(self, case: Case) -> tuple[Done | Failed, list[str]]:
        """Have the worker process do the case; its answer, and a list of what is wrong with it."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        answer = self._loop.run(self._pool.workers[0].run(case.job(folder)))
        return answer, faults(case, answer, folder / "made")


@contextmanager
def _throwing(folder: Path) -> Iterator[Thrower]:
    with asyncio.Runner() as loop:
        pool = WorkerPool(1, CircuitBreaker("workers"))
        loop.run(pool.start())
        try:
            yield Thrower(pool, loop, folder)
        finally:
            loop.run(pool.stop())


@pytest.fixture(scope="module")
def thrower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thrower]:
    """One worker process for all tests here: if an image harms it, the next tests fail."""
    with _throwing(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.mark.parametrize("seed", range(len(_SEEDS)), ids=[seed.name for seed in _SEEDS])
def test_a_damaged_image_is_made_or_refused_and_the_child_lives(thrower: Thrower, seed: int) -> None:
    """Every variant is right, or the job fails for a reason of the image."""
    for turn in range(_INPUTS):
        case = damaged(_SEEDS, 0, seed + turn * len(_SEEDS))
        answer, wrong = thrower.throw(case)
        assert not wrong, case.way
        assert not is_death(answer), case.way


@pytest.mark.parametrize("format_", sorted(PILLOW_NAMES))
def test_after_all_that_the_child_makes_whole_images(thrower: Thrower, format_: str) -> None:
    """Damaged images have changed nothing in the worker process."""
    seed = next(each for each in _SEEDS if each.format == format_)
    answer, wrong = thrower.throw(intact(seed, 1))
    assert not wrong
    assert isinstance(answer, Done)


@pytest.mark.parametrize("path", _FOUND, ids=[path.name for path in _FOUND])
def test_what_was_found_stays_right(thrower: Thrower, path: Path) -> None:
    """Inputs that once had a wrong outcome now have the one that their names begin with."""
    limits = {"max_pixels": 10**6, "memory_bytes": 2**30, "truncated": False, "blurhash": False}
    case = Case("found", path.suffix[1:], "found", path.read_bytes(), ("it=32@webp+anim",), limits)
    answer, wrong = thrower.throw(case)
    assert not wrong
    assert path.name.startswith(outcome(answer))


def test_the_seeds_are_of_every_format_that_is_taken() -> None:
    """Every accepted format is fuzzed, also one that is added later."""
    assert {seed.format for seed in _SEEDS} == set(PILLOW_NAMES)


@pytest.mark.parametrize("number", [0, 7, 1234])
def test_a_number_is_always_the_same_input(number: int) -> None:
    """The input that a log names can be made again."""
    assert damaged(_SEEDS, 5, number) == damaged(seeds(), 5, number)


@pytest.mark.parametrize("way", sorted(MUTATIONS))
@pytest.mark.parametrize("format_", sorted(PILLOW_NAMES))
def test_every_way_to_damage_does(way: str, format_: str) -> None:
    """In every format, each way of damaging changes the sample in some attempts."""
    seed = next(each for each in _SEEDS if each.format == format_)
    chance = Random(way)  # noqa: S311 (a repeatable choice, not a secret)
    tries = [MUTATIONS[way](chance, bytearray(seed.data), seed, _SEEDS[0]) for _ in range(8)]
    assert any(bytes(data) != seed.data for data in tries)
