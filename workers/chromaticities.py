"""ICC profiles for the primaries (cHRM) and the gamma (gAMA) of a PNG file."""

from typing import Any

from workers.icc import D50, SRGB_COLUMNS, Column, make_rgb_profile, srgb_light

Matrix = tuple[Column, Column, Column]

_MIN_GAMMA, _MAX_GAMMA = 0.05, 5.0
_SRGB_GAMMA = 1 / 2.2
_MAX_GAMMA_DIFFERENCE = 0.02
_MIN_DETERMINANT = 1e-4
_MAX_DIFFERENCE = 0.002
"""Of two XYZ values that count as the same colour."""
# The Bradford matrix, which adapts colours to another white point (ICC.1:2022, annex E), and its inverse.
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_INVERSE = (
    (0.9869929, -0.1470543, 0.1599627),
    (0.4323053, 0.5183603, 0.0492912),
    (-0.0085287, 0.0400428, 0.9684867),
)


def make_png_profile(info: dict[str | tuple[int, int], Any]) -> bytes | None:
    """A profile of the primaries in the `info` of a PNG; None if they are those of sRGB or make no sense.

    Without a gamma the curve is that of sRGB. A profile or the chunk sRGB takes precedence over both.
    """
    stated = info.get("chromaticity")
    if stated is None or info.keys() & {"icc_profile", "srgb"}:
        return None
    columns = _adapted_columns(stated)
    if columns is None or _are_alike(columns, SRGB_COLUMNS):
        return None
    gamma = info.get("gamma")
    if not isinstance(gamma, float) or not _MIN_GAMMA <= gamma <= _MAX_GAMMA or is_srgb_gamma(gamma):
        return make_rgb_profile(columns, srgb_light)
    return make_rgb_profile(columns, lambda value: float(value ** (1 / gamma)))


def is_srgb_gamma(gamma: float) -> bool:
    """Whether a file with this `gamma` means the curve of sRGB, to which 1 / 2.2 is the closest power."""
    return abs(gamma - _SRGB_GAMMA) < _MAX_GAMMA_DIFFERENCE


def _adapted_columns(stated: tuple[float, ...]) -> Matrix | None:
    """XYZ of red, green and blue, adapted to D50, for x and y of white, red, green and blue."""
    white_x, white_y, *rest = stated
    if len(rest) != 6 or white_y <= 0:
        return None
    white = (white_x / white_y, 1.0, (1 - white_x - white_y) / white_y)
    colours = [(x, y, 1 - x - y) for x, y in zip(rest[::2], rest[1::2], strict=True)]
    primaries = (colours[0], colours[1], colours[2])
    whole = _determinant(primaries)
    if abs(whole) < _MIN_DETERMINANT:
        return None
    adapted = []
    gains = [to / of for to, of in zip(_apply(_BRADFORD, D50), _apply(_BRADFORD, white), strict=True)]
    for index, colour in enumerate(primaries):
        replaced = [white if at == index else other for at, other in enumerate(primaries)]
        weight = _determinant((replaced[0], replaced[1], replaced[2])) / whole  # Cramer's rule
        cones = _apply(_BRADFORD, (colour[0] * weight, colour[1] * weight, colour[2] * weight))
        adapted.append(_apply(_INVERSE, (cones[0] * gains[0], cones[1] * gains[1], cones[2] * gains[2])))
    return adapted[0], adapted[1], adapted[2]


def _apply(matrix: Matrix, column: Column) -> Column:
    first, second, third = (sum(a * b for a, b in zip(row, column, strict=True)) for row in matrix)
    return first, second, third


def _determinant(columns: Matrix) -> float:
    a, b, c = columns
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - b[0] * (a[1] * c[2] - a[2] * c[1])
        + c[0] * (a[1] * b[2] - a[2] * b[1])
    )


def _are_alike(one: Matrix, other: Matrix) -> bool:
    pairs = zip(sum(one, ()), sum(other, ()), strict=True)
    return all(abs(a - b) <= _MAX_DIFFERENCE for a, b in pairs)
