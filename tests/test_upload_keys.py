"""UPLOAD_KEYS: what is accepted, and what is said of mistakes without showing a secret."""

from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.upload_keys import parse_upload_keys
from tests.settings_error import complaint
from tests.tickets import OTHER_SECRET, PRIVATE_KEYS, SECRET, jwks, public_keys

SHORT = "thirty-one bytes are not enough"
WEAK_RSA = {"kty": "RSA", "e": "AQAB", "n": "4" * 171}
"""A public key of 1026 bits."""


def test_secrets_and_jwk_sets_stand_side_by_side(tmp_path: Path) -> None:
    """The algorithm of each key follows from its kind, and keys for other uses are left out."""
    others = [{**public_keys("RS256")[0], "use": "enc"}, {**public_keys("RS256")[0], "alg": "PS256"}]
    entry = jwks(
        tmp_path / "keys.json", [*public_keys(*PRIVATE_KEYS), *others, {"kty": "OKP", "crv": "Ed448"}]
    )
    keys = parse_upload_keys(f"app:{SECRET}, {entry},")
    assert [(key.name, [each.algorithm for each in key.keys]) for key in keys] == [
        ("app", ["HS256"]),
        ("idp", ["EdDSA", "ES256", "RS256"]),
    ]


def test_a_secret_is_shown_nowhere() -> None:
    """Neither as text, nor in the settings' own description of themselves."""
    settings = Settings(upload_keys=f"app:{SECRET}")  # type: ignore[arg-type]
    assert str(settings.upload_keys[0]) == "app:***"
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (SECRET, "entry 1 is not NAME:SECRET"),
        (f"app:{SECRET},two words:{SECRET}", "entry 2 is not NAME:SECRET"),
        (f"app:{SHORT}", "the secret of app has 31 bytes, fewer than 32"),
        (f"app:{SECRET},app:{OTHER_SECRET}", "the name app is there twice"),
        (f"app:-----BEGIN PUBLIC KEY----- {SECRET}", "the secret of app is a key of another kind"),
        ("idp:@/nowhere/keys.json", "/nowhere/keys.json, the JWK set of idp, cannot be read: No such file"),
    ],
)
def test_a_mistake_is_told_in_one_line_without_the_secret(value: str, reason: str) -> None:
    """The name of the setting and of the entry are told."""
    line = complaint(upload_keys=value)
    assert line.startswith(f"SPILLWAY_UPLOAD_KEYS: {reason}")
    assert SECRET not in line
    assert SHORT not in line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no json", "is not JSON"),
        ("[" * 5000, "is not JSON"),
        ("[]", 'is not an object with a list "keys"'),
        ('{"keys": [1]}', 'is not an object with a list "keys"'),
        ('{"keys": []}', "has no key for EdDSA"),
        (" " * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_no_jwk_set_is_told(tmp_path: Path, content: str, reason: str) -> None:
    """Whatever is in it."""
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=reason):
        parse_upload_keys(f"idp:@{path}")


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0"}, "has a secret"),
        (PRIVATE_KEYS["ES256"].as_dict(private=True), "has a private key"),
        (WEAK_RSA, "an RSA key of 102. bits, fewer than 2048"),
        ({**public_keys("EdDSA")[0], "x": "AAAA"}, "has a broken EdDSA key"),
        ({**public_keys("ES256")[0], "y": 7}, "has a broken ES256 key"),
    ],
)
def test_a_jwk_set_has_good_public_keys_alone(tmp_path: Path, jwk: Any, reason: str) -> None:
    """A secret, a private or a weak key among them is a mistake that must not be passed over."""
    entry = jwks(tmp_path / "keys.json", [*public_keys("EdDSA"), dict(jwk)])
    with pytest.raises(ValueError, match=reason):
        parse_upload_keys(entry)
