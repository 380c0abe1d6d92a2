"""Reads the colour that shows through transparency where a format has none."""

import re

Colour = tuple[int, int, int]
"""Red, green and blue in sRGB, from 0 to 255."""

_USUAL = {"white": (255, 255, 255), "black": (0, 0, 0)}
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})", re.ASCII)


def read_colour(text: str) -> Colour:
    """The colour that is written as `#rgb`, `#rrggbb` or a CSS name; raises ValueError, which says why."""
    word = text.strip().lower()
    if _HEX.fullmatch(word):
        digits = word[1:] if len(word) == 7 else "".join(2 * digit for digit in word[1:])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if word in _USUAL:
        return _USUAL[word]
    # Loaded only for other names: it takes two megabytes, and the service needs no other part of Pillow.
    from PIL.ImageColor import colormap

    named = colormap.get(word)
    if named is not None:  # a tuple if Pillow has looked it up in this process
        return read_colour(named) if isinstance(named, str) else named
    if word == "transparent" or re.fullmatch(r"#([0-9a-f]{4}|[0-9a-f]{8})|(rgb|hsl)a\(.*", word):
        raise ValueError("a background cannot be transparent: it is what shows through transparency")
    raise ValueError("not a colour such as #fff, #ffffff or white (a name of CSS)")
