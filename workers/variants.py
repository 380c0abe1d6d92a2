"""The variants that are made of an upload, and the grammar in which settings and requests list them."""

import re
from dataclasses import dataclass

MAX_SIDE = 16_384
"""Longest side, in pixels, that a variant may ask for."""

MAX_VARIANTS = 64
"""Variants in one list; more would not fit a frame."""

DEFAULT_QUALITY = 80
OUTPUT_FORMATS = ("jpeg", "webp", "avif", "png")

_NAME = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)
_RESERVED = "events"
_SHAPE = "name=longest side[@format[+anim]][:quality]"


@dataclass(frozen=True, slots=True)
class Variant:
    """One output: the source fitted into a square of `side` pixels, encoded as `format`."""

    name: str
    side: int
    format: str = "jpeg"
    quality: int = DEFAULT_QUALITY
    animated: bool = False

    @property
    def spec(self) -> str:
        """The entry of a list from which `parse_variants` makes this variant."""
        kind = "" if self.format == "jpeg" else f"@{self.format}{'+anim' if self.animated else ''}"
        quality = "" if self.quality == DEFAULT_QUALITY else f":{self.quality}"
        return f"{self.name}={self.side}{kind}{quality}"


def parse_variants(text: str) -> tuple[Variant, ...]:
    """Read a comma-separated list of variants, in the order given.

    Raises ValueError with a sentence that names the wrong entry.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if entries == [""]:
        raise ValueError(f"At least one variant is needed, as {_SHAPE}.")
    if len(entries) > MAX_VARIANTS:
        raise ValueError(f"There are {len(entries)} variants, and at most {MAX_VARIANTS} are possible.")
    variants = tuple(_parse_entry(entry) for entry in entries)
    seen: set[str] = set()
    for variant in variants:
        if variant.name in seen:
            raise ValueError(f"The variant {variant.name!r} is named twice.")
        seen.add(variant.name)
    return variants


def fit_size(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of a `width` x `height` image fitted into a square of `side` pixels; it is never enlarged."""
    longest = max(width, height)
    if longest <= side:
        return width, height
    # Rounded half up in integers: with floats the last pixel would depend on the platform.
    return (
        max(1, (2 * width * side + longest) // (2 * longest)),
        max(1, (2 * height * side + longest) // (2 * longest)),
    )


def _parse_entry(entry: str) -> Variant:
    shown = repr(entry[:80])
    name, equals, rest = entry.partition("=")
    if not equals:
        raise ValueError(f"The variant {shown} is not of the form {_SHAPE}.")
    if not _NAME.fullmatch(name):
        raise ValueError(f"The variant {shown} needs a name of 1 to 32 letters a-z, digits, '_' or '-'.")
    if name == _RESERVED:
        raise ValueError(f"The variant {shown} cannot be called {_RESERVED!r}, an address of its own.")
    size, colon, quality = rest.partition(":")
    side, at, kind = size.partition("@")
    format_, plus, flag = kind.partition("+")
    if at and format_ not in OUTPUT_FORMATS:
        raise ValueError(f"The variant {shown} has a format that is none of {', '.join(OUTPUT_FORMATS)}.")
    if plus and (flag != "anim" or format_ != "webp"):
        raise ValueError(f"The variant {shown} can carry '+anim' after the format webp, and nothing else.")
    return Variant(
        name=name,
        side=_number(side, MAX_SIDE, f"The variant {shown} needs a side from 1 to {MAX_SIDE} pixels."),
        format=format_ if at else "jpeg",
        quality=_number(quality, 100, f"The variant {shown} needs a quality from 1 to 100.")
        if colon
        else DEFAULT_QUALITY,
        animated=bool(plus),
    )


def _number(text: str, maximum: int, error: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= maximum:
        raise ValueError(error)
    return int(text)
