"""The types of settings that can be written in several ways: sizes, durations, networks, origins, hosts."""

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize

_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_HOST = r"\[[0-9a-f:.]+\]|[^\s/:@?#*\[\]]+"
_USUAL_PORTS = {"http": ":80", "https": ":443"}


def _binary_units(value: Any) -> Any:
    """Spell a size so that `ByteSize` reads it as this service always has.

    Here `8K` is 8 KiB, as for Docker and systemd, where pydantic takes 8000 bytes; and the digits of a number
    may be grouped by spaces or underscores.
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<=[0-9])([kmgt])$", r"\1iB", re.sub(r"[\s_]", "", value), flags=re.IGNORECASE)


def _seconds(value: Any) -> Any:
    """A duration with or without a unit, such as `90`, `1500ms`, `10m` or `24h`, in seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9][0-9_ ]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in _TIME_UNITS:
        raise ValueError("not a duration such as 30, 90s, 10m or 24h")
    return float(match[1].replace("_", "").replace(" ", "")) * _TIME_UNITS[match[2].lower()]


def _origin(value: str) -> str:
    """An origin as browsers send it (RFC 6454): in lower case, without a final slash and the usual port."""
    found = re.fullmatch(rf"([a-z][a-z0-9+.-]*)://({_HOST})(:[0-9]{{1,5}})?/?", value.lower())
    if value == "*":
        return value
    if found is None:
        raise ValueError(f"{value!r} is not an origin such as https://app.example or http://localhost:3000")
    scheme, host, port = found.groups("")
    return f"{scheme}://{_ascii_host(host)}{'' if port == _USUAL_PORTS.get(scheme) else port}"


def _host_name(value: str) -> str:
    """A host name in lower case, after `*.` if it stands for all names below it, or an IP address."""
    found = re.fullmatch(rf"(\*\.)?({_HOST})", value.lower())
    if found is None:
        raise ValueError(f"{value!r} is not a host such as photos.example, without scheme, port and path")
    wildcard, host = found.groups("")
    return wildcard + _ascii_host(host)


def _ascii_host(host: str) -> str:
    """A host as it is written in requests: a name with other letters becomes its ASCII form (RFC 5890)."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host!r} is not a host name") from None


def separated(value: Any) -> Any:
    """The parts of a text that are separated by commas or white space."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,\s]+", value) if part)
    return value


Size = Annotated[ByteSize, BeforeValidator(_binary_units)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Origin = Annotated[str, AfterValidator(_origin)]
HostName = Annotated[str, AfterValidator(_host_name)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
