"""The types of settings that can be written in several ways: sizes, durations, networks, URLs, hosts."""

import base64
import binascii
import ipaddress
import math
import re
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize

from workers.background import read_colour

_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_LIFETIME_S = 100 * 365.25 * 86400
"""Beyond it, moments would soon have no date."""
_HOST = r"\[[0-9a-f:.]+\]|[^\s/:@?#*\[\]]+"
_SEGMENT = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+"
"""A segment of a path (RFC 3986, section 3.3)."""
_USUAL_PORTS = {"http": ":80", "https": ":443"}
_PRIVATE_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
]
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
_MIN_SECRET_BYTES, _MAX_SECRET_BYTES = 24, 64
_MAX_URL_LENGTH = 2048


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


def _lifetime(value: Any) -> Any:
    """A duration in seconds, of at most a hundred years, or infinity for `inf`."""
    if isinstance(value, str) and value.strip().lower() in ("inf", "infinity"):
        return math.inf
    seconds = _seconds(value)
    if isinstance(seconds, float) and _MAX_LIFETIME_S < seconds < math.inf:
        raise ValueError("more than a hundred years; inf is for good")
    return seconds


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


def _public_url(value: str) -> str:
    """A URL for links to begin with: lower case but for its path, without usual port and final slash."""
    if not value.strip():
        return ""
    pattern = rf"(https?)://({_HOST})(:[0-9]{{1,5}})?((?:/{_SEGMENT})*)/?"
    found = re.fullmatch(pattern, value.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(
            "not an address such as https://www.example/photos: http or https, a host, if need be a port "
            "and a path, whose unusual characters are percent-encoded"
        )
    scheme, host, port, path = found.groups("")
    scheme, host = scheme.lower(), _ascii_host(host.lower())
    if not re.fullmatch(r"\[[0-9a-f:.]+\]|[a-z0-9._-]+", host):
        raise ValueError(f"{host!r} is not a host")
    if port and not 0 < int(port[1:]) < 65536:
        raise ValueError(f"there is no port {port[1:]}")
    if any(unquote(segment) in (".", "..") or "/" in unquote(segment) for segment in path.split("/")):
        raise ValueError("its path has a segment that is . or .. or contains a slash")
    return f"{scheme}://{host}{'' if port == _USUAL_PORTS[scheme] else port}{path}"


def _ascii_host(host: str) -> str:
    """A host as it is written in requests: a name with other letters becomes its ASCII form (RFC 5890)."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{host!r} is not a host name") from None


def _colour(value: str) -> str:
    """A colour as `read_colour` reads it."""
    read_colour(value)
    return value


def is_private(address: str) -> bool:
    """Whether an IP address is loopback (RFC 1122, RFC 4291) or private (RFC 1918, RFC 4193).

    Raises:
        ValueError: it is no IP address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip.version == network.version and ip in network for network in _PRIVATE_NETWORKS)


def _webhook_url(value: str) -> str:
    """A URL that events may be posted to: `https://`, or `http://` within one's own network.

    The address behind a host name with `http://` is checked by whoever connects to it.
    """
    if not value:
        return value
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:  # its message may have a part of a password in it
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("no URL such as https://backend.example/hooks")
    if len(value) > _MAX_URL_LENGTH or not re.fullmatch(r"[!-~]+", value):
        raise ValueError(f"a URL has at most {_MAX_URL_LENGTH} characters, all of them printable ASCII")
    if port == 0:
        raise ValueError("a port is between 1 and 65535")
    if "#" in value:
        raise ValueError("a URL that is posted to has no fragment (#)")
    if parts.scheme == "http" and not _may_be_private(host):
        raise ValueError("http:// is for loopback and private addresses only; use https://")
    return value


def _may_be_private(host: str) -> bool:
    try:
        return is_private(host)
    except ValueError:  # a name
        return True


def webhook_secrets(value: str) -> tuple[str, ...]:
    """The secrets of a text that has them separated by white space.

    Raises:
        ValueError: one of them is not `whsec_` and 24 to 64 bytes in base64, as Standard Webhooks has it. The
            message does not contain it.
    """
    secrets = tuple(value.split())
    for number, secret in enumerate(secrets, 1):
        try:
            text = secret.removeprefix(_SECRET_PREFIX)
            size = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith(_SECRET_PREFIX) or not _MIN_SECRET_BYTES <= size <= _MAX_SECRET_BYTES:
            raise ValueError(
                f"secret {number} of {len(secrets)} is not {_SECRET_PREFIX} and {_MIN_SECRET_BYTES} to "
                f"{_MAX_SECRET_BYTES} bytes in base64"
            )
    return secrets


def _checked_secrets(value: str) -> str:
    webhook_secrets(value)
    return value


def separated(value: Any) -> Any:
    """The parts of a text that are separated by commas or white space."""
    if isinstance(value, str):
        return tuple(part for part in re.split(r"[,\s]+", value) if part)
    return value


Size = Annotated[ByteSize, BeforeValidator(_binary_units)]
Lifetime = Annotated[float, BeforeValidator(_lifetime)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Origin = Annotated[str, AfterValidator(_origin)]
Colour = Annotated[str, AfterValidator(_colour)]
HostName = Annotated[str, AfterValidator(_host_name)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
WebhookUrl = Annotated[str, AfterValidator(_webhook_url)]
WebhookSecrets = Annotated[str, AfterValidator(_checked_secrets)]
WebhookEvent = Literal["image.done", "image.completed", "image.failed", "image.deleted", "image.expired"]
