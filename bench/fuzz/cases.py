"""The inputs of a run. The same run and number always give the same file and the same job."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.fuzz.mutations import mutated
from bench.fuzz.seeds import Seed
from workers.messages import Task

TIMEOUT_S = 10.0

_LADDERS = (
    ("it=64",),
    ("a=48", "b=16@webp"),
    ("a=64@png", "b=20"),
    ("it=40@avif",),
    ("it=32@webp+anim",),
    ("a=100@webp+anim", "b=32@webp", "c=8"),
    ("large=1600", "medium=800", "small=320", "thumb=96"),
    (
        "a=64x48/cover-smart@webp+anim+p3",
        "b=40x",
        "c=x24@png+p3",
        "d=48x16/cover-bottom",
        "e=16x40/cover-right",
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One input: `way` names the damage, `limits` are those of its job."""

    name: str
    format: str
    way: str
    data: bytes
    variants: tuple[str, ...]
    limits: dict[str, Any]

    def job(self, folder: Path) -> Task:
        """Write the upload into `folder`. Returns its task."""
        source, made = folder / "upload", folder / "made"
        made.mkdir(exist_ok=True)
        source.write_bytes(self.data)
        return Task(self.name, str(source), str(made), self.variants, timeout_s=TIMEOUT_S, **self.limits)


def damaged(seeds: list[Seed], run: int, number: int) -> Case:
    """Input `number` of run `run`: the seeds are used in order, a random generator chooses the rest."""
    chance = Random(f"{run}/{number}")  # noqa: S311 (a repeatable choice, not a secret)
    seed = seeds[number % len(seeds)]
    alike = [each for each in seeds if each.format == seed.format]
    data, way = mutated(chance, seed, chance.choice(alike if chance.random() < 0.7 else seeds))
    return _case(chance, f"n{number}", seed, way, data)


def intact(seed: Seed, number: int) -> Case:
    """An intact file, whose job must be done: if it is not, the worker has been damaged."""
    chance = Random(number)  # noqa: S311
    case = _case(chance, f"whole{number}", seed, "none", seed.data)
    limits = {**case.limits, "max_pixels": 10**8, "memory_bytes": 2**30}
    return Case(case.name, case.format, case.way, case.data, case.variants, limits)


def _case(chance: Random, name: str, seed: Seed, way: str, data: bytes) -> Case:
    limits = {
        # The service's default limits, and narrower ones that more of the damaged headers exceed.
        "max_pixels": chance.choice((10**8, 10**6, 10**6, 10**6)),
        "memory_bytes": chance.choice((2**30, 2**30, 2**30, 2**26)),
        "truncated": chance.random() < 0.3,
        "blurhash": chance.random() < 0.1,
    }
    return Case(name, seed.format, way, data, chance.choice(_LADDERS), limits)
