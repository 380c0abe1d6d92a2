"""The inputs of a run: the same number is the same file, and the same job, for ever."""

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
)


@dataclass(frozen=True, slots=True)
class Case:
    """One input: `way` names the damage, `limits` are the job's own."""

    name: str
    format: str
    way: str
    data: bytes
    variants: tuple[str, ...]
    limits: dict[str, Any]

    def job(self, folder: Path) -> Task:
        """The job for it, in a folder of its own; writes the upload there."""
        source, made = folder / "upload", folder / "made"
        made.mkdir(exist_ok=True)
        source.write_bytes(self.data)
        return Task(self.name, str(source), str(made), self.variants, timeout_s=TIMEOUT_S, **self.limits)


def damaged(seeds: list[Seed], run: int, number: int) -> Case:
    """Input `number` of the run that is called `run`: the seeds take turns, chance does the rest."""
    chance = Random(f"{run}/{number}")  # noqa: S311 (a repeatable choice, not a secret)
    seed = seeds[number % len(seeds)]
    alike = [each for each in seeds if each.format == seed.format]
    data, way = mutated(chance, seed, chance.choice(alike if chance.random() < 0.7 else seeds))
    return _case(chance, f"n{number}", seed, way, data)


def intact(seed: Seed, number: int) -> Case:
    """A whole file, which must be made: a child that no longer does that is not well."""
    chance = Random(number)  # noqa: S311
    case = _case(chance, f"whole{number}", seed, "none", seed.data)
    limits = {**case.limits, "max_pixels": 10**8, "memory_bytes": 2**30}
    return Case(case.name, case.format, case.way, case.data, case.variants, limits)


def _case(chance: Random, name: str, seed: Seed, way: str, data: bytes) -> Case:
    limits = {
        # The service's own bounds, and narrower ones that more of the damaged headers step over.
        "max_pixels": chance.choice((10**8, 10**6, 10**6, 10**6)),
        "memory_bytes": chance.choice((2**30, 2**30, 2**30, 2**26)),
        "truncated": chance.random() < 0.3,
        "blurhash": chance.random() < 0.1,
    }
    return Case(name, seed.format, way, data, chance.choice(_LADDERS), limits)
