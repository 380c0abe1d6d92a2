"""`spillway ticket` prints what an upload needs, or says in one line why not."""

from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.ticket_command import ticket
from tests.service import run
from tests.tickets import SECRET, jwks, public_keys


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with a secret and a set of public keys."""
    monkeypatch.chdir(tmp_path)
    entry = jwks(tmp_path / "keys.json", public_keys("EdDSA"))
    monkeypatch.setenv("SPILLWAY_UPLOAD_KEYS", f"app:{SECRET},{entry}")


def test_a_ticket_has_the_claims_that_were_asked_for(tmp_path: Path) -> None:
    """Another library reads it; what was not asked for is not in it."""
    options = [
        "--sub",
        "alice",
        "--expires",
        "15m",
        "--max-bytes",
        "5MiB",
        "--variants",
        "thumb,small",
        "--once",
    ]
    printed = run("ticket", *options, folder=tmp_path, upload_keys=f"app:{SECRET}")
    assert printed.returncode == 0, printed.stderr
    token = jwt.decode(printed.stdout.strip(), OctKey.import_key(SECRET))
    claims = token.claims
    assert token.header["kid"] == "app"
    assert claims.pop("exp") - claims.pop("iat") == 900
    assert len(claims.pop("jti")) == 32
    expected = {"sub": "alice", "max_bytes": 5 * 2**20, "variants": ["thumb", "small"], "once": True}
    assert claims == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": "idp"}, "idp is a set of public keys"),
        ({"key": "other"}, "--key has to be one of app, idp"),
        ({}, "--key has to be one of app, idp"),
        ({"key": "app", "expires": "25h"}, "more than 24 hours"),
        ({"key": "app", "expires": "soon"}, "--expires: not a duration"),
        ({"key": "app", "max_bytes": "many"}, "--max-bytes:"),
        ({"key": "app", "rate": float("nan")}, "rate claim"),
        ({"key": "app", "variants": "thumb,gone"}, "names 'gone'"),
    ],
)
def test_what_would_be_no_ticket_is_not_printed(
    options: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why, without the secret."""
    with pytest.raises(SystemExit):
        ticket(**options)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert SECRET not in printed.err


def test_without_keys_there_is_nothing_to_sign_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And uploads need no ticket."""
    monkeypatch.delenv("SPILLWAY_UPLOAD_KEYS")
    with pytest.raises(SystemExit):
        ticket()
    assert "UPLOAD_KEYS is empty" in capsys.readouterr().err
