"""The command `spillway ticket`, which signs one ticket with a secret of UPLOAD_KEYS."""

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.runtime.failure import fail

if TYPE_CHECKING:
    from app.settings import Settings
    from app.upload_keys import UploadKey


def ticket(  # size: its options
    key: Annotated[str, typer.Option(help="Name of the key in UPLOAD_KEYS [the only one].")] = "",
    sub: Annotated[str | None, typer.Option(help="The client that it is for [each address].")] = None,
    expires: Annotated[str, typer.Option(help="For how long it is good, at most 24h.")] = "15m",
    rate: Annotated[float | None, typer.Option(help="The client's tokens per second [RATE].")] = None,
    burst: Annotated[int | None, typer.Option(help="Size of the client's bucket [BURST].")] = None,
    share: Annotated[int | None, typer.Option(help="Its receiving and waiting jobs [CLIENT_SHARE].")] = None,
    max_bytes: Annotated[
        str | None, typer.Option(help="Largest file, such as 5MiB [MAX_UPLOAD_BYTES].")
    ] = None,
    variants: Annotated[str | None, typer.Option(help="Variants allowed, by commas [all].")] = None,
    reference: Annotated[str | None, typer.Option(help="The reference of the upload.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Good for one accepted upload.")] = False,
) -> None:
    """Print a ticket, signed with a secret of UPLOAD_KEYS: what an upload sends as Authorization: Bearer."""
    from pydantic import TypeAdapter, ValidationError

    from app.setting_values import Seconds, Size
    from app.settings import SettingsError, load_settings

    try:
        settings = load_settings()
        life_s = TypeAdapter(Seconds).validate_python(expires)
        size = None if max_bytes is None else int(TypeAdapter(Size).validate_python(max_bytes))
    except SettingsError as error:
        fail(error)
    except ValidationError as error:
        name = "--expires" if error.errors()[0]["input"] == expires else "--max-bytes"
        fail(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    now = int(time.time())
    claims = {
        "iat": now,
        "exp": now + int(life_s),
        "sub": sub,
        "rate": rate,
        "burst": burst,
        "share": share,
        "max_bytes": size,
        "variants": None if variants is None else [name.strip() for name in variants.split(",")],
        "reference": reference,
    }
    if once:
        claims |= {"jti": secrets.token_hex(16), "once": True}
    given = {name: value for name, value in claims.items() if value is not None}
    print(_signed(settings, _key(settings, key), given))


def _key(settings: "Settings", name: str) -> "UploadKey":
    """The key of this name, or the only one."""
    keys = {key.name: key for key in settings.upload_keys}
    if not keys:
        fail("SPILLWAY_UPLOAD_KEYS is empty: uploads need no ticket, and there is no key to sign one with")
    if not name and len(keys) == 1:
        (name,) = keys
    if name not in keys:
        fail(f"--key has to be one of {', '.join(keys)}")
    if keys[name].path is not None:
        fail(f"{name} is a set of public keys, which sign nothing: whoever has the private key makes tickets")
    return keys[name]


def _signed(settings: "Settings", key: "UploadKey", claims: dict[str, Any]) -> str:
    """The token, which this service would accept now."""
    import jwt

    from app.uploads.tickets import BadTicket, Tickets

    (secret,) = key.keys
    token = jwt.encode(claims, secret.material, secret.algorithm, headers={"kid": key.name})
    try:
        Tickets(settings).verify(token)
    except BadTicket as error:
        fail(str(error).rstrip("."))
    return token
