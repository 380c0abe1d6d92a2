"""Reads Accept fields (RFC 9110, section 12.5.1): whether a client would rather have a page than JSON."""

import re
from collections.abc import Iterable

from app.server.headers import split_list

_PAGES = ("text/html", "application/xhtml+xml", "text/*")
_DOCUMENTS = ("application/problem+json", "application/json", "application/*")


def prefers_html(lines: Iterable[str]) -> bool:
    """Whether these lines name HTML, as browsers do for a page, with more weight than JSON.

    A client that takes anything (`*/*`) gets JSON.
    """
    weights: dict[str, float] = {}
    for element in split_list(lines):
        name, *parameters = element.lower().split(";")
        weights.setdefault(name.strip(), _weight(parameters))
    html = max(weights.get(name, 0.0) for name in _PAGES)
    json = max(weights.get(name, 0.0) for name in _DOCUMENTS)
    return html > json and html >= weights.get("*/*", 0.0)


def _weight(parameters: list[str]) -> float:
    """The parameter q of a media range; 1 if there is none, 0 for a malformed one."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", value.strip()) else 0.0
    return 1.0
