"""Checks of what all answers of a kind have in common."""

import math
import re
from typing import Any

import httpx

from tests.service import Answer

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

_UUID = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_VALUE = r'(?:-?[0-9]{1,15}|"[ -!#-\[\]-~]*")'
_ITEM = rf'"[ -!#-\[\]-~]*"(?:;[a-z*][a-z0-9_.*-]*={_VALUE})*'


def items(field: str) -> dict[str, dict[str, int | str]]:
    """A structured field (RFC 9651) that is a list of strings with parameters, such as RateLimit."""
    assert re.fullmatch(rf"{_ITEM}(?:[ \t]*,[ \t]*{_ITEM})*", field), f"not a list of items: {field!r}"
    found: dict[str, dict[str, int | str]] = {}
    for item in re.findall(_ITEM, field):
        name, *parameters = item.split(";")
        pairs = (parameter.split("=", 1) for parameter in parameters)
        values = {key: value.strip('"') if value.startswith('"') else int(value) for key, value in pairs}
        found[name.strip('"')] = values
    return found


def limits(headers: Any) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """RateLimit-Policy and RateLimit, both well formed and about the same policies."""
    policy, limit = items(headers["ratelimit-policy"]), items(headers["ratelimit"])
    assert set(limit) == set(policy)
    assert (policy.get("ip") or policy["ticket"]).keys() == {"q", "w"}
    for values in limit.values():
        assert values.keys() == {"r", "t"}
        assert values["r"] >= 0  # type: ignore[operator]
        assert values["t"] >= 0  # type: ignore[operator]
    return policy, limit


def problem(answer: httpx.Response | Answer, status: int, kind: str, *, guard: str | None = None) -> Any:
    """The problem document of a refusal, whole and right; `kind` is its type's URI, or a slug of ours."""
    code = answer.status if isinstance(answer, Answer) else answer.status_code
    headers = answer.headers
    assert code == status, answer.body if isinstance(answer, Answer) else answer.text
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert "proxy-status" not in headers
    document = answer.json()
    assert document["type"] == (kind if ":" in kind else f"/problems/{kind}")
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert re.fullmatch(_UUID, document["instance"])
    assert document.get("guard") == guard
    if status in (429, 503):
        _delayed(headers, document)
    return document


def _delayed(headers: Any, document: Any) -> None:
    seconds = int(headers["retry-after"])
    assert seconds >= 1
    assert seconds >= document["retry_after_ms"] / 1000 > seconds - 1 or seconds == 1
    assert seconds == max(1, math.ceil(document["retry_after_ms"] / 1000))
    policy, limit = limits(headers)
    violated = document.get("violated-policies", [])
    assert set(violated) <= set(policy)
    for name in violated:
        assert limit[name]["r"] == 0
        assert limit[name]["t"] == seconds
