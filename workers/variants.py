"""The variants that are made of an upload, and the grammar in which settings and records list them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

MAX_SIDE = 16_384
"""Width and height, in pixels, that a variant may ask for."""

MAX_VARIANTS = 64
"""Variants in one list; more would not fit a frame."""

DEFAULT_QUALITY = 80
OUTPUT_FORMATS = ("jpeg", "webp", "avif", "png")
RESERVED_NAMES = ("events", "original", "variants")
"""Names that follow an image's address and are no variants."""

GRAMMAR = "name=SIZE[/fit][@format[+anim][+p3]][:quality]"
_NAME = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_SIZES = "1600 (longest side), 1600x (width), x900 (height) or 400x300 (box)"


class Fit(StrEnum):
    """How a picture fills a box: all of it inside, or the box covered, with the rest cut off.

    All but the first keep what is at that side, in the middle, or where the picture is richest.
    """

    CONTAIN = "contain"
    COVER = "cover"
    TOP = "cover-top"
    BOTTOM = "cover-bottom"
    LEFT = "cover-left"
    RIGHT = "cover-right"
    SMART = "cover-smart"


_FITS = {fit.value: fit for fit in Fit} | {"cover-center": Fit.COVER}


@dataclass(frozen=True, slots=True)
class Variant:
    """One output: the source fitted into a box of `width` x `height` pixels, encoded as `format`.

    A longest side is a box with two equal sides; a width alone leaves the height `MAX_SIDE`, and vice versa.
    With `animated` all frames are kept, and with `p3` the colours of Display P3.
    """

    name: str
    width: int
    height: int
    fit: Fit = Fit.CONTAIN
    format: str = "jpeg"
    quality: int = DEFAULT_QUALITY
    animated: bool = False
    p3: bool = False

    @property
    def size(self) -> str:
        """The box as the grammar spells it, without the fit."""
        if self.fit is Fit.CONTAIN:
            if self.width == self.height:
                return f"{self.width}"
            if self.height == MAX_SIDE:
                return f"{self.width}x"
            if self.width == MAX_SIDE:
                return f"x{self.height}"
        return f"{self.width}x{self.height}"

    @property
    def area(self) -> int:
        """Pixels of the box; a side that is not limited counts as long as the other one."""
        if self.fit is Fit.CONTAIN and MAX_SIDE in (self.width, self.height):
            return min(self.width, self.height) ** 2
        return self.width * self.height

    @property
    def spec(self) -> str:
        """The entry of a list from which `parse_variants` makes this variant."""
        fit = "" if self.fit is Fit.CONTAIN else f"/{self.fit}"
        flags = f"{'+anim' if self.animated else ''}{'+p3' if self.p3 else ''}"
        kind = f"@{self.format}{flags}" if flags or self.format != "jpeg" else ""
        quality = "" if self.quality == DEFAULT_QUALITY else f":{self.quality}"
        return f"{self.name}={self.size}{fit}{kind}{quality}"


def parse_variants(text: str) -> tuple[Variant, ...]:
    """Read a comma-separated list of variants, in the order given.

    Raises ValueError with a sentence that names the wrong entry, and the place in it.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if entries == [""]:
        raise ValueError(f"At least one variant is needed, as {GRAMMAR}.")
    variants = read_specs(entries)
    for variant in variants:
        if variant.name in RESERVED_NAMES:
            raise ValueError(
                f"The variant {variant.spec!r} cannot be called {variant.name!r}, an address of its own."
            )
    return variants


def read_specs(specs: Iterable[str]) -> tuple[Variant, ...]:
    """The variants of these entries, under any name: earlier versions had fewer reserved names.

    Raises ValueError as `parse_variants` does.
    """
    entries = tuple(specs)
    if len(entries) > MAX_VARIANTS:
        raise ValueError(f"There are {len(entries)} variants, and at most {MAX_VARIANTS} are possible.")
    variants = tuple(_Entry(entry).read() for entry in entries)
    seen: set[str] = set()
    for variant in variants:
        if variant.name in seen:
            raise ValueError(f"The variant {variant.name!r} is named twice.")
        seen.add(variant.name)
    return variants


class _Entry:
    """Reads one entry of a list of variants."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> Variant:
        """The variant; raises ValueError with a sentence about the wrong place."""
        name, equals, rest = self._text.partition("=")
        if not equals:
            raise ValueError(f"The variant {self._shown} is not of the form {GRAMMAR}.")
        if not _NAME.fullmatch(name):
            self._fail("name", name, "is not 1 to 32 letters a-z, digits, '_' or '-'")
        shape, colon, quality = rest.partition(":")
        shape, at, kind = shape.partition("@")
        size, slash, fit = shape.partition("/")
        width, height = self._read_size(size)
        format_, animated, p3 = self._read_kind(kind) if at else ("jpeg", False, False)
        return Variant(
            name,
            width,
            height,
            self._read_fit(fit, size) if slash else Fit.CONTAIN,
            format_,
            self._read_number("quality", quality, quality, 100) if colon else DEFAULT_QUALITY,
            animated,
            p3,
        )

    def _read_size(self, size: str) -> tuple[int, int]:
        width, x, height = size.partition("x")
        if not x:
            side = self._read_number("size", size, size, MAX_SIDE)
            return side, side
        if not width and not height:
            self._fail("size", size, f"has no number: sizes are {_SIZES}")
        return (
            self._read_number("size", size, width, MAX_SIDE) if width else MAX_SIDE,
            self._read_number("size", size, height, MAX_SIDE) if height else MAX_SIDE,
        )

    def _read_fit(self, fit: str, size: str) -> Fit:
        if fit not in _FITS:
            self._fail("fit", fit, f"is none of {', '.join(_FITS)}")
        if not all(size.partition("x")):
            self._fail("fit", fit, "needs a box, such as 400x300, for its size")
        return _FITS[fit]

    def _read_kind(self, kind: str) -> tuple[str, bool, bool]:
        """The format, and whether it is animated and keeps Display P3."""
        format_, *flags = kind.split("+")
        if format_ not in OUTPUT_FORMATS:
            self._fail("format", format_, f"is none of {', '.join(OUTPUT_FORMATS)}")
        for flag in flags:
            if flag not in ("anim", "p3"):
                self._fail("addition", f"+{flag}", "is neither +anim nor +p3")
            if flags.count(flag) > 1:
                self._fail("addition", f"+{flag}", "is there twice")
        if "anim" in flags and format_ != "webp":
            self._fail("addition", "+anim", "is for the format webp, which alone can move")
        return format_, "anim" in flags, "p3" in flags

    def _read_number(self, place: str, whole: str, text: str, maximum: int) -> int:
        """A number from 1 to `maximum`, which is `text`, in the part `whole` of the entry."""
        unit = " pixels" if place == "size" else ""
        if not _NUMBER.fullmatch(text):
            forms = f"sizes are {_SIZES}" if place == "size" else f"1 to {maximum} is possible"
            self._fail(place, whole, f"is not a number: {forms}")
        if not 1 <= int(text) <= maximum:
            self._fail(place, whole, f"is outside 1 to {maximum}{unit}")
        return int(text)

    def _fail(self, place: str, text: str, reason: str) -> NoReturn:
        raise ValueError(f"The {place} {text[:80]!r} of the variant {self._shown} {reason}.")

    @property
    def _shown(self) -> str:
        return repr(self._text[:80])
