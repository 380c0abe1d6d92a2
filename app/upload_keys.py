"""The keys of UPLOAD_KEYS: whose tickets are accepted, and by which algorithm each signs.

    name:secret             HS256, by a secret of at least 32 bytes
    name:@/path/jwks.json   EdDSA, ES256 or RS256, by the public keys of a JWK set (RFC 7517)

Files are read once, at the start. The algorithm belongs to the key and never comes from a ticket alone, so a
public key cannot be taken for an HMAC secret (RFC 8725, section 3.1).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MIN_SECRET_BYTES = 32
"""As many as HS256 has in its digest (RFC 7518, section 3.2)."""
MIN_RSA_BITS = 2048
_MAX_FILE_BYTES = 64 * 1024
_MAX_JWKS_KEYS = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One key, and the algorithm that it is for.

    `material` is the secret as bytes, or a public key of the library `cryptography`. `kid` is the key's own
    id in its JWK set.
    """

    algorithm: str
    material: Any = field(repr=False)
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class UploadKey:
    """One entry of UPLOAD_KEYS: the name of an issuer of tickets and its keys, one secret or a JWK set."""

    name: str
    keys: tuple[VerifyingKey, ...]
    path: str | None = None
    """Where the JWK set was read; None for a secret."""

    def __str__(self) -> str:
        """The entry without its secret."""
        return f"{self.name}:***" if self.path is None else f"{self.name}:@{self.path}"


def parse_upload_keys(value: Any) -> Any:
    """The entries of a list `name:secret,name:@/path/to/jwks.json`. What is no text is returned as it is.

    Raises:
        ValueError: an entry cannot be used. The message names it and shows nothing of its secret.
    """
    if not isinstance(value, str):
        return value
    keys: dict[str, UploadKey] = {}
    for number, entry in enumerate((part.strip() for part in value.split(",")), 1):
        if not entry:
            continue
        key = _parse_entry(entry, number)
        if key.name in keys:
            raise ValueError(f"the name {key.name} is there twice")
        keys[key.name] = key
    return tuple(keys.values())


def _parse_entry(entry: str, number: int) -> UploadKey:
    name, colon, secret = entry.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise ValueError(
            f"entry {number} is not NAME:SECRET or NAME:@/path/to/jwks.json, where NAME is 1 to 64 of "
            "A-Z a-z 0-9 . _ - and a secret has no comma"
        )
    if secret.startswith("@"):
        path = secret.removeprefix("@")
        return UploadKey(name, tuple(_read_jwks(name, Path(path))), path)
    size = len(secret.encode())
    if size < MIN_SECRET_BYTES:
        raise ValueError(f"the secret of {name} has {size} bytes, fewer than {MIN_SECRET_BYTES}")
    if "-----BEGIN" in secret or secret.startswith("ssh-"):
        raise ValueError(f"the secret of {name} is a key of another kind: public keys come as a JWK set")
    return UploadKey(name, (VerifyingKey("HS256", secret.encode()),))


def _read_jwks(name: str, path: Path) -> Iterator[VerifyingKey]:
    """The public keys of a file, at least one."""
    where = f"{path}, the JWK set of {name},"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"{where} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is not JSON") from None
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f'{where} is not an object with a list "keys" (RFC 7517)')
    if len(entries) > _MAX_JWKS_KEYS:
        raise ValueError(f"{where} has more than {_MAX_JWKS_KEYS} keys")
    usable = [key for entry in entries if (key := _verifying_key(where, entry)) is not None]
    if not usable:
        raise ValueError(f"{where} has no key for EdDSA (Ed25519), ES256 (P-256) or RS256 (RSA)")
    yield from usable


def _verifying_key(where: str, jwk: dict[str, Any]) -> VerifyingKey | None:
    """The key of one JWK; None if it is for something else.

    Raises:
        ValueError: it is a secret or a private key, which do not belong there, or it is broken or too weak.
    """
    if jwk.get("kty") == "oct":
        raise ValueError(f"{where} has a secret (kty oct) in it: only public keys belong there")
    if "d" in jwk:
        raise ValueError(f"{where} has a private key in it: only public keys belong there")
    algorithm = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", None): "RS256"}.get(
        (str(jwk.get("kty")), None if jwk.get("kty") == "RSA" else str(jwk.get("crv")))
    )
    is_for_others = jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) != algorithm
    if algorithm is None or is_for_others or "verify" not in (jwk.get("key_ops") or ["verify"]):
        return None
    from jwt import PyJWK, PyJWTError  # only where there are such keys: it loads OpenSSL

    try:
        material = PyJWK(jwk, algorithm).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        raise ValueError(f"{where} has a broken {algorithm} key") from None
    if algorithm == "RS256" and material.key_size < MIN_RSA_BITS:
        raise ValueError(f"{where} has an RSA key of {material.key_size} bits, fewer than {MIN_RSA_BITS}")
    kid = jwk.get("kid")
    return VerifyingKey(algorithm, material, kid if isinstance(kid, str) else None)
