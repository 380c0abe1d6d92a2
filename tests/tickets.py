"""Tickets for the tests, made by another library than the one that checks them (joserfc)."""

import json
import time
import warnings
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

SECRET = "a value of the tests that is long enough"  # noqa: S105
OTHER_SECRET = "another value of the tests and as long as that"  # noqa: S105
PRIVATE_KEYS = {
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "one"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "two"}),
    "RS256": RSAKey.generate_key(2048, {"kid": "three"}),
}
_REGISTRY = JWSRegistry(algorithms=["HS256", "HS512", "none", *PRIVATE_KEYS])


def signed(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    """A token with exactly these claims; `key` is a secret or a key of joserfc."""
    key = OctKey.import_key(key) if isinstance(key, str | bytes) else key
    with warnings.catch_warnings():  # joserfc warns of what some of these tests are about
        warnings.simplefilter("ignore")
        return jwt.encode({"alg": algorithm, **header}, claims, key, registry=_REGISTRY)


def ticket(**claims: Any) -> str:
    """A ticket of `SECRET` that is good for ten minutes."""
    return signed({"exp": int(time.time()) + 600, **claims})


def bearer(**claims: Any) -> dict[str, str]:
    """The header fields with such a ticket."""
    return {"authorization": f"Bearer {ticket(**claims)}"}


def public_keys(*algorithms: str) -> list[dict[str, Any]]:
    """The public JWKs of some of `PRIVATE_KEYS`."""
    return [dict(PRIVATE_KEYS[name].as_dict(private=False)) for name in algorithms]


def jwks(path: Path, keys: list[dict[str, Any]]) -> str:
    """Write a JWK set. Returns an entry of UPLOAD_KEYS that names it."""
    path.write_text(json.dumps({"keys": keys}))
    return f"idp:@{path}"
