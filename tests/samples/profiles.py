"""ICC profiles of displays and presses."""

import struct

from tests.samples.metadata import SECRET

Chromaticity = tuple[float, float]


def rgb_profile(gamma: float, red: Chromaticity, green: Chromaticity, blue: Chromaticity) -> bytes:
    """An ICC profile of a display with these primaries (CIE x, y; white D50) and one `gamma`."""
    primaries = [_xyz(*red), _xyz(*green), _xyz(*blue)]
    weights = _solved(primaries, (0.9642, 1.0, 0.8249))
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    for name, primary, weight in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, weights, strict=True):
        tags[name] = b"XYZ " + bytes(4) + b"".join(_fixed(value * weight) for value in primary)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def cmyk_profile(inks: dict[tuple[int, int, int, int], tuple[int, int, int]]) -> bytes:
    """An ICC profile of a press: `inks` gives the Lab colour (8 bits each) of some full inks, else white."""
    nodes = bytearray()
    for index in range(16):
        corner = (index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1)
        nodes += bytes(inks.get(corner, (255, 128, 128)))
    matrix = b"".join(_fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + bytes(nodes) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + SECRET + b"\0",
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249),
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += _fixed(0.9642) + _fixed(1.0) + _fixed(0.8249)
    return header.ljust(128, b"\0") + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _solved(columns: list[tuple[float, float, float]], target: tuple[float, float, float]) -> list[float]:
    """Weights of three columns that sum up to `target`, by Cramer's rule."""

    def determinant(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
        return (
            a[0] * (b[1] * c[2] - b[2] * c[1])
            - b[0] * (a[1] * c[2] - a[2] * c[1])
            + c[0] * (a[1] * b[2] - a[2] * b[1])
        )

    whole = determinant(*columns)
    return [
        determinant(*(target if place == index else column for place, column in enumerate(columns))) / whole
        for index in range(3)
    ]
