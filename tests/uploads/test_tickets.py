"""Tickets of an independent library: which are good, what they allow, and what is said of the others."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey

from app.settings import Settings
from app.uploads.ticket_claims import Ticket
from app.uploads.tickets import BadTicket, BeyondTicket, Tickets, Uploader, check_claims
from tests.clocks import HandClock
from tests.tickets import OTHER_SECRET, PRIVATE_KEYS, SECRET, jwks, public_keys, signed

NOW = 1_800_000_000
SOON = {"exp": NOW + 600}
ADDRESS = "192.0.2.7"
VARIANTS = "large=1600,small=320,thumb=96"


def tickets(keys: str = f"app:{SECRET}", clock: HandClock | None = None, **settings: Any) -> Tickets:
    """What verifies the tickets of these UPLOAD_KEYS, at the time `NOW`."""
    made = Settings(upload_keys=keys, variants=VARIANTS, **settings)
    return Tickets(made, clock or HandClock(NOW))


def good(**claims: Any) -> Ticket:
    """The ticket with these claims."""
    return tickets().verify(signed(SOON | claims))


def refusal(token: str, keys: str = f"app:{SECRET}") -> str:
    """What is said of a bad ticket; it is a 401 of RFC 6750."""
    with pytest.raises(BadTicket) as error:
        tickets(keys).verify(token)
    assert error.value.headers == [("WWW-Authenticate", 'Bearer error="invalid_token"')]
    return str(error.value)


# --- signatures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_public_keys_verify_tickets_of_their_own_algorithm(tmp_path: Path, algorithm: str) -> None:
    """`kid` is the name of the setting, or that of the key in its set; with one entry it may be missing."""
    keys = jwks(tmp_path / "keys.json", public_keys(*PRIVATE_KEYS))
    private = PRIVATE_KEYS[algorithm]
    for header in ({}, {"kid": "idp"}, {"kid": private.kid}):
        assert tickets(keys).verify(signed(SOON, private, algorithm, **header)).key == "idp"
    assert "names no key" in refusal(signed(SOON, private, algorithm, kid="four"), keys)


def test_a_ticket_names_its_key_where_there_are_several() -> None:
    """It is tried with no other one."""
    keys = f"app:{SECRET},web:{OTHER_SECRET}"
    assert tickets(keys).verify(signed(SOON, OTHER_SECRET, kid="web")).key == "web"
    assert (
        refusal(signed(SOON, OTHER_SECRET, kid="app"), keys)
        == "The ticket's signature is not that of its key."
    )
    assert "names no key" in refusal(signed(SOON, OTHER_SECRET), keys)


def segment(value: object) -> str:
    """A segment of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def hmac_signed(header: str, payload: str) -> str:
    """A token of these segments, which may hold what no library writes, such as NaN."""
    mac = hmac.new(SECRET.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        segment({"alg": "HS256"}),
        segment({"alg": "HS256"}) + "..",
        segment(["HS256"]) + ".e30.AAAA",
        segment({"alg": "HS256", "kid": 5}) + ".e30.AAAA",
        segment({"alg": "HS256", "kid": None}) + ".e30.AAAA",
        segment({"alg": ["HS256"]}) + ".e30.AAAA",
        base64.urlsafe_b64encode(b"[" * 2000).decode() + ".e30.AAAA",
        signed(SOON) + "A",
        signed(SOON)[:-4],
        signed(SOON, OTHER_SECRET),
        signed(SOON, SECRET, "none"),
        signed(SOON, SECRET, "HS512"),
        signed(SOON, PRIVATE_KEYS["EdDSA"], "EdDSA"),
        hmac_signed(segment({"alg": "HS256", "crit": ["exp"], "exp": 1}), segment(SOON)),
        hmac_signed(segment({"alg": "HS256", "crit": ["b64"], "b64": False}), segment(SOON)),
        "x" * 4097,
    ],
    ids=range(21),
)
def test_what_is_not_signed_by_the_key_is_refused(token: str) -> None:
    """Malformed, cut, forged, without signature, of another algorithm, with extensions, or huge."""
    assert refusal(token)


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """A ticket of HS256, signed by what everybody may know of the RSA key, is not taken (RFC 8725, 2.1)."""
    keys = jwks(tmp_path / "keys.json", public_keys("RS256"))
    for public in (PRIVATE_KEYS["RS256"].as_pem(private=False), json.dumps(public_keys("RS256")[0]).encode()):
        forged = signed(SOON, OctKey.import_key(base64.b64encode(public)), kid="idp")
        assert "names no key" in refusal(forged, keys)


@pytest.mark.parametrize("algorithm", ["HS256", *PRIVATE_KEYS])
def test_a_ticket_has_one_spelling(tmp_path: Path, algorithm: str) -> None:
    """A signature of another length, and one whose last letter differs in bits that mean nothing, are bad."""
    keys = f"app:{SECRET},{jwks(tmp_path / 'keys.json', public_keys(*PRIVATE_KEYS))}"
    key, kid = (SECRET, "app") if algorithm == "HS256" else (PRIVATE_KEYS[algorithm], "idp")
    token = signed(SOON, key, algorithm, kid=kid)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = letters[letters.index(token[-1]) ^ 1]
    unsigned = token.rpartition(".")[0]
    for other in (token[:-1] + twin, f"{unsigned}.AA", f"{unsigned}.{'A' * 400}", f"{token}=", f"{token}\n"):
        assert refusal(other, keys)


# --- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, "has no exp claim"),
        ({"exp": NOW - 60}, "has expired"),
        ({"exp": NOW + 86_461}, "more than 24 hours"),
        ({"exp": NOW + 600, "nbf": NOW + 61}, "not valid yet"),
        ({"exp": NOW + 600, "iat": NOW + 61}, "not valid yet"),
    ],
)
def test_a_ticket_is_good_for_a_day_at_most(claims: dict[str, Any], said: str) -> None:
    """It has to say until when; clocks may differ by a minute."""
    assert said in refusal(signed(claims))


def test_clocks_may_differ_by_a_minute_and_a_verified_ticket_still_expires() -> None:
    """Also one that is remembered from before."""
    clock = HandClock(NOW)
    verifier = tickets(clock=clock)
    token = signed({"exp": NOW + 86_460, "nbf": NOW + 60, "iat": NOW + 60.0})
    assert verifier.verify(token) is verifier.verify(token)
    clock.advance(86_519)
    verifier.verify(token)
    clock.advance(1)
    with pytest.raises(BadTicket, match="has expired"):
        verifier.verify(token)
    clock.now = NOW - 1
    with pytest.raises(BadTicket, match="not valid yet"):
        verifier.verify(token)


# --- claims ---------------------------------------------------------------------------------------------

NUMBERS = [True, "5", None, [5], -1, 0, float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("exp", [True, "1800000600", None, float("nan"), float("inf"), -1, 10**400, {}]),
        ("nbf", [True, "5", -1]),
        ("rate", [*NUMBERS, 0.0001, 100_001]),
        ("burst", [*NUMBERS, 2.5, 1_000_001]),
        ("share", [*NUMBERS, 2.5]),
        ("max_bytes", [*NUMBERS, 2.5]),
        ("sub", ["", 5, None, "x" * 256, "a\nb", "\ud800"]),
        ("variants", [[], "", None, ["thumb", 5], ["gone"], "thumb,gone", {"thumb": 1}]),
        ("reference", ["", 5, "x" * 129, "a\tb"]),
        ("jti", ["", 5, ["a"]]),
        ("once", [1, "true", None, True]),
        ("aud", ["another", ["another"], 5, None]),
    ],
)
def test_claims_are_read_strictly(name: str, values: list[Any]) -> None:
    """Whatever is not exactly what a claim has to be is refused, and the claim is named."""
    for value in values:
        token = hmac_signed(segment({"alg": "HS256"}), segment(SOON | {name: value}))
        assert name in refusal(token), value


@pytest.mark.parametrize("claims", ["no json", "[1]", "5", "[" * 2000])
def test_claims_are_an_object(claims: str) -> None:
    """Signed nonsense is nonsense."""
    payload = base64.urlsafe_b64encode(claims.encode()).rstrip(b"=").decode()
    assert "claims are not" in refusal(hmac_signed(segment({"alg": "HS256"}), payload))


def test_a_ticket_for_this_service_may_say_so() -> None:
    """Claims that mean nothing here are ignored."""
    assert good(aud=["spillway", "another"], iss="https://idp.example", scope="photos")


def test_a_subject_is_one_client_wherever_it_is_and_never_an_address() -> None:
    """The same subject under two keys is two clients; without one, each address is its own."""
    alice, bob = good(sub="alice"), good(sub="bob")
    assert alice.client_at(ADDRESS) == good(sub="alice", max_bytes=5).client_at("192.0.2.8")
    both = tickets(f"app:{SECRET},web:{OTHER_SECRET}")
    other = both.verify(signed(SOON | {"sub": "alice"}, OTHER_SECRET, kid="web"))
    nobody = good()
    keys = [each.client_at(ADDRESS) for each in (alice, bob, other, nobody, good(sub=ADDRESS))]
    assert len({*keys, ADDRESS, nobody.client_at("192.0.2.8")}) == 7
    assert all(key.startswith("ticket:") and len(key) == 39 for key in keys)


def test_limits_are_those_of_the_ticket_and_else_of_the_settings() -> None:
    """A client has one bucket for each set of limits, so that one ticket does not fill that of another."""
    verifier = tickets(rate=2, burst=10)
    shown = {}
    for claims in ({}, {"rate": 5}, {"burst": 20}, {"rate": 5.0, "burst": 20}):
        ticket = verifier.verify(signed(SOON | claims | {"sub": "alice"}))
        shown[Uploader(ADDRESS, ticket).bucket] = ticket.limits.limit, ticket.limits.window_s
    assert list(shown.values()) == [(10, 5), (10, 2), (20, 10), (20, 4)]
    assert {ticket.limits.policy} == {"ticket"}


def test_the_leaky_bucket_holds_no_longer_than_the_settings_allow() -> None:
    """There a burst is how many requests may be held, within MAX_DELAY."""
    verifier = tickets(limiter="leaky_bucket", rate=2, max_delay=2)
    found = [verifier.verify(signed(SOON | {"burst": burst})).limits.limit for burst in (1, 3, 1000)]
    assert found == [1, 3, 5]


# --- what an upload may ask for -------------------------------------------------------------------------


def asks(ticket: Ticket, query: dict[str, str], declared: int | None = None, kind: str = "image/jpeg") -> str:
    """What is said of an upload that asks for this; empty if it may."""
    try:
        check_claims(ticket, query, kind, declared)
    except BeyondTicket as error:
        return str(error)
    return ""


def test_other_variants_than_the_ticket_s_are_refused() -> None:
    """The claim is a list, or a text with commas."""
    for value in (["thumb", "small"], "small, thumb"):
        ticket = good(variants=value)
        assert ticket.variants == ("small", "thumb")
        assert asks(ticket, {}) == asks(ticket, {"variants": "thumb"}) == ""
        assert "allows the variants small, thumb, not" in asks(ticket, {"variants": "thumb,large"})


def test_another_reference_and_a_larger_file_than_the_ticket_s_are_refused() -> None:
    """A form may be larger by what it adds; a length that is not declared is counted as it comes."""
    ticket = good(reference="order 7", max_bytes=1000)
    assert asks(ticket, {}, 1000) == asks(ticket, {"reference": "order 7"}) == ""
    assert "another reference" in asks(ticket, {"reference": "order 8"})
    assert "at most 1000 bytes" in asks(ticket, {}, 1001)
    assert asks(ticket, {}, 1001, "multipart/form-data") == ""
    assert "at most" in asks(ticket, {}, 1000 + 65_537, "multipart/form-data")


# --- whose upload it is ---------------------------------------------------------------------------------


def scope(*fields: tuple[bytes, bytes]) -> dict[str, Any]:
    """A request with these header fields."""
    return {"headers": list(fields)}


def test_without_keys_nobody_needs_a_ticket() -> None:
    """And one that comes all the same means nothing."""
    verifier = Tickets(Settings())
    assert verifier.uploader(scope((b"authorization", b"Bearer x")), ADDRESS) == Uploader(ADDRESS)


def test_an_upload_without_a_ticket_is_told_to_bring_one() -> None:
    """Without an error attribute, since nothing was wrong yet (RFC 6750, section 3)."""
    for fields in ([], [(b"authorization", b"Basic YTpi")], [(b"authorization", b"Bearer ")]):
        with pytest.raises(BadTicket) as error:
            tickets().uploader(scope(*fields), ADDRESS)
        assert error.value.headers == [("WWW-Authenticate", "Bearer")]


def test_two_authorization_fields_are_refused() -> None:
    """A proxy might have looked at the other one."""
    field = (b"authorization", f"Bearer {signed(SOON)}".encode())
    with pytest.raises(BadTicket, match="several"):
        tickets().uploader(scope(field, field), ADDRESS)
