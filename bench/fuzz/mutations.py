"""The ways to damage a file. Each takes a seeded random generator, so that a run can be repeated."""

from collections.abc import Callable
from random import Random

from bench.fuzz.anatomy import anatomy, mended_png
from bench.fuzz.seeds import Seed

_EDGES = (0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 4095, 32_767, 32_768, 65_535, 65_536)
_VAST = (2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**30, 10_000, 16_384)
_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0xD8, 0xD9, 0xDA)
_LARGEST = 256 * 1024

Mutation = Callable[[Random, bytearray, Seed, Seed], bytearray]


def mutated(chance: Random, seed: Seed, other: Seed) -> tuple[bytes, str]:
    """`seed` damaged in one way or several, and their names; splices take bytes from `other`."""
    data, ways = bytearray(seed.data), []
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        name = chance.choice(tuple(MUTATIONS))
        data = MUTATIONS[name](chance, data, seed, other)[:_LARGEST]
        ways.append(name)
    # A reader that verifies checksums would reject nearly every file, so most get correct ones.
    result = bytes(data)
    if seed.format == "png" and chance.random() < 0.8:
        result = mended_png(result)
    return result, "+".join(ways)


def _flip_bits(chance: Random, data: bytearray, _seed: Seed, _other: Seed) -> bytearray:
    for _ in range(chance.choice((1, 2, 8, 32)) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _set_bytes(chance: Random, data: bytearray, _seed: Seed, _other: Seed) -> bytearray:
    for _ in range(chance.choice((1, 2, 8, 32)) if data else 0):
        data[chance.randrange(len(data))] = chance.choice(_BYTES)
    return data


def _damage_head(chance: Random, data: bytearray, _seed: Seed, _other: Seed) -> bytearray:
    for _ in range(chance.choice((1, 2, 4)) if data else 0):
        data[chance.randrange(min(len(data), 200))] = chance.randrange(256)
    return data


def _truncate(chance: Random, data: bytearray, _seed: Seed, _other: Seed) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def _append(chance: Random, data: bytearray, _seed: Seed, other: Seed) -> bytearray:
    return data + chance.choice((chance.randbytes(chance.randrange(1, 500)), other.data, bytes(64)))


def _splice(chance: Random, data: bytearray, _seed: Seed, other: Seed) -> bytearray:
    return data[: chance.randrange(len(data) + 1)] + other.data[chance.randrange(len(other.data)) :]


def _move_block(chance: Random, data: bytearray, _seed: Seed, _other: Seed) -> bytearray:
    start = chance.randrange(len(data) + 1)
    block = data[start : start + chance.randrange(1, 200)]
    kind = chance.randrange(4)
    if kind == 0:
        del data[start : start + len(block)]
    elif kind == 1:
        data[start:start] = block * chance.choice((1, 2, 20))
    elif kind == 2:
        data[start : start + len(block)] = bytes(len(block))
    else:
        data[start : start + len(block)] = chance.randbytes(len(block))
    return data


def _move_part(chance: Random, data: bytearray, seed: Seed, other: Seed) -> bytearray:
    """Swap, drop, repeat or import whole parts; applied to the intact file, whose parts are known."""
    whole = anatomy(seed.format, seed.data).parts
    if not whole:
        return data
    parts = [seed.data[start:end] for start, end in whole]
    one, two = chance.randrange(len(parts)), chance.randrange(len(parts))
    kind = chance.randrange(4)
    if kind == 0:
        parts[one], parts[two] = parts[two], parts[one]
    elif kind == 1:
        parts[one] = b""
    elif kind == 2:
        parts.insert(two, parts[one] * chance.choice((1, 1, 2, 50)))
    else:
        lent = anatomy(other.format, other.data).parts
        start, end = chance.choice(lent) if lent else (0, 0)
        parts.insert(one, other.data[start:end])
    head, tail = seed.data[: whole[0][0]], seed.data[whole[-1][1] :]
    return bytearray(head + b"".join(parts) + tail)


def _change_part(chance: Random, data: bytearray, seed: Seed, _other: Seed) -> bytearray:
    """Damage bytes within one part, so that small parts are hit as often as those with the pixels."""
    parts = anatomy(seed.format, seed.data).parts
    start, end = chance.choice(parts) if parts else (0, len(data))
    for _ in range(chance.choice((1, 3, 10)) if start < min(end, len(data)) else 0):
        data[chance.randrange(start, min(end, len(data)))] = chance.choice((chance.randrange(256), 0, 255))
    return data


def _lie_about_lengths(chance: Random, data: bytearray, seed: Seed, _other: Seed) -> bytearray:
    lengths = anatomy(seed.format, seed.data).lengths
    for _ in range(chance.choice((1, 1, 2, 4)) if lengths else 0):
        value = chance.choice((*_EDGES, *_VAST, len(data), chance.randrange(2**16)))
        chance.choice(lengths).written(data, value)
    return data


def _lie_about_sides(chance: Random, data: bytearray, seed: Seed, _other: Seed) -> bytearray:
    sides = anatomy(seed.format, seed.data).sides
    for _ in range(chance.choice((1, 1, 2)) if sides else 0):
        value = chance.choice((*_EDGES, *_VAST, chance.randrange(300), chance.randrange(5000)))
        chance.choice(sides).written(data, value)
    return data


MUTATIONS: dict[str, Mutation] = {
    "bits": _flip_bits,
    "bytes": _set_bytes,
    "head": _damage_head,
    "truncate": _truncate,
    "append": _append,
    "splice": _splice,
    "block": _move_block,
    "part": _move_part,
    "within": _change_part,
    "lengths": _lie_about_lengths,
    "sides": _lie_about_sides,
}
"""Every mutation by its name."""
