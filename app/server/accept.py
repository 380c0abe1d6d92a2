"""Reads Accept fields (RFC 9110, section 12.5.1): whether a client wants a page, a picture or JSON."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from app.server.headers import split_list

_PAGES = ("text/html", "application/xhtml+xml", "text/*")
_DOCUMENTS = ("application/problem+json", "application/json", "application/*")


@dataclass(frozen=True, slots=True)
class Accept:
    """The media ranges that a client names, each with its weight; none if it takes anything."""

    weights: Mapping[str, float]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """Read the lines of the field. What is no media range is ignored."""
        weights: dict[str, float] = {}
        for element in split_list(lines):
            name, *parameters = element.lower().split(";")
            if "/" in name:
                weights.setdefault(name.strip(), _weight(parameters))
        return cls(weights)

    def prefers_html(self) -> bool:
        """Whether HTML is named, as browsers do for a page, with more weight than JSON.

        A client that takes anything (`*/*`) gets JSON.
        """
        html = self._heaviest(_PAGES)
        return html > self._heaviest(_DOCUMENTS) and html >= self.weights.get("*/*", 0.0)

    def prefers_picture(self, media_type: str | None = None) -> bool:
        """Whether pictures, or those of a media type, are named with more weight than JSON and pages.

        `*/*` names none. A browser that loads a page names some, but no more than the page.
        """
        named = self.weights
        if media_type is None:
            picture = self._heaviest(name for name in named if name.startswith("image/"))
        else:
            picture = named.get(media_type, named.get("image/*", 0.0))
        return picture > max(self._json, self._heaviest(_PAGES))

    def takes_json(self) -> bool:
        """Whether JSON may be the answer."""
        return not self.weights or self._json > 0

    @property
    def _json(self) -> float:
        found = [weight for name, weight in self.weights.items() if name.endswith("json")]
        return max(found) if found else self.weights.get("application/*", self.weights.get("*/*", 0.0))

    def _heaviest(self, names: Iterable[str]) -> float:
        return max((self.weights.get(name, 0.0) for name in names), default=0.0)


def _weight(parameters: list[str]) -> float:
    """The parameter q of a media range; 1 if there is none, 0 for a malformed one."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", value.strip()) else 0.0
    return 1.0
