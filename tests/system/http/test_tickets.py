"""Tickets on the wire: who may upload, whom it is charged to, and what is answered to everybody else."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import samples
from tests.service import SMALL, Service, fresh_address, serving
from tests.system.http.expect import QUOTA_EXCEEDED, items, problem
from tests.tickets import PRIVATE_KEYS, SECRET, jwks, public_keys, signed

BURST = 5
FOREIGN = "https://photos.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes uploads with tickets of a secret, named app, or of a JWK set, named idp."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = f"app:{SECRET},{jwks(folder / 'keys.json', public_keys(*PRIVATE_KEYS))}"
    settings = {"upload_keys": keys, "rate": 0.01, "burst": BURST, "cors_origins": FOREIGN}
    settings["keep_original"] = True
    with serving(folder, **settings) as service:
        yield service


def app(**claims: Any) -> dict[str, str]:
    """The header fields with a ticket of the key app."""
    claims.setdefault("exp", _soon())
    return {"authorization": f"Bearer {signed(claims, kid='app')}"}


def _soon() -> int:
    return int(time.time()) + 600


def statuses(*answers: httpx.Response) -> list[int]:
    """The statuses of answers."""
    return [answer.status_code for answer in answers]


class TestWithoutGoodTicket:
    """401 before the body is read, and in the end 429."""

    def test_an_upload_without_ticket_is_challenged(self, guarded: Service) -> None:
        """The body stays unread: a client that waits for 100 Continue is never told to send it."""
        with guarded.connect() as connection:
            connection.head(
                "POST /v1/images",
                "Content-Type: image/jpeg",
                "Content-Length: 100000",
                "Expect: 100-continue",
                f"Origin: {FOREIGN}",
            )
            answer = connection.answer()
        problem(answer, 401, "ticket")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["access-control-allow-origin"] == FOREIGN

    def test_a_bad_ticket_is_told_what_is_wrong(self, guarded: Service) -> None:
        """Expired, forged, unsigned, or of claims that cannot be."""
        unsigned = signed({"exp": _soon()}, SECRET, "none", kid="app")
        bad = {
            "has expired": app(exp=5),
            "signature": {"authorization": app()["authorization"][:-3] + "abc"},
            "names no key": {"authorization": f"Bearer {unsigned}"},
            "rate claim": app(rate="fast"),
        }
        for said, fields in bad.items():
            answer = guarded.upload(**fields)
            assert said in problem(answer, 401, "ticket")["detail"]
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    def test_guessing_ends_in_429_and_keeps_no_neighbour_out(self, guarded: Service) -> None:
        """Failures are charged to the address; who has a ticket there goes on uploading."""
        address = fresh_address()
        before = guarded.stats()["refusals"]
        answers = [guarded.upload(address=address, **app(sub="guess", exp=5)) for _ in range(BURST + 2)]
        assert statuses(*answers) == [401] * BURST + [429] * 2
        assert guarded.stats()["refusals"]["401"] == before["401"] + BURST
        assert problem(answers[-1], 429, QUOTA_EXCEEDED, guard="rate")["violated-policies"] == ["ip"]
        assert guarded.upload(address=address, **app(sub="neighbour")).status_code == 202

    def test_asking_for_the_quota_is_no_way_to_guess(self, guarded: Service) -> None:
        """A bad ticket is charged there too."""
        with guarded.client() as client:
            answers = [client.get("/v1/quota", headers=app(exp=5)) for _ in range(BURST + 1)]
        assert statuses(*answers) == [401] * BURST + [429]


class TestClient:
    """The subject is the client, wherever it uploads from."""

    @pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
    def test_a_ticket_of_a_public_key_is_taken(self, guarded: Service, algorithm: str) -> None:
        """By any of the algorithms."""
        token = signed({"exp": _soon(), "sub": algorithm}, PRIVATE_KEYS[algorithm], algorithm, kid="idp")
        assert guarded.upload(authorization=f"Bearer {token}").status_code == 202

    def test_two_users_of_one_office_have_a_bucket_each(self, guarded: Service) -> None:
        """And one user has the same one in every office, and under every ticket with the same limits."""
        office = fresh_address()
        alice = [guarded.upload(address=office, **app(sub="alice")) for _ in range(BURST + 1)]
        assert statuses(*alice) == [202] * BURST + [429]
        assert guarded.upload(address=office, **app(sub="bob")).status_code == 202
        elsewhere = guarded.upload(**app(sub="alice", max_bytes=10**6))
        assert problem(elsewhere, 429, QUOTA_EXCEEDED, guard="rate")["violated-policies"] == ["ticket"]
        assert items(elsewhere.headers["ratelimit"])["ticket"]["r"] == 0

    def test_limits_of_the_ticket_are_used_and_shown(self, guarded: Service) -> None:
        """In every answer, and in the quota, which spends nothing."""
        fields = app(sub="carol", rate=0.5, burst=2)
        with guarded.client() as client:
            quotas = [client.get("/v1/quota", headers=fields) for _ in range(2)]
            assert {answer.json()["remaining"] for answer in quotas} == {2}
            assert quotas[0].json()["policy"] == "ticket"
            assert client.get("/v1/quota").json()["policy"] == "ip"
        answers = [guarded.upload(**fields) for _ in range(3)]
        assert statuses(*answers) == [202, 202, 429]
        assert items(answers[0].headers["ratelimit-policy"]) == {"ticket": {"q": 2, "w": 4}}

    def test_a_share_of_the_ticket_is_used(self, guarded: Service) -> None:
        """It counts uploads and waiting jobs of the subject, not of the address."""
        fields = app(sub="dora", share=1)
        length = f"Content-Length: {len(SMALL)}"
        with guarded.connect() as first:
            ticket = f"Authorization: {fields['authorization']}"
            first.head("POST /v1/images", ticket, length, "Expect: 100-continue")
            assert first.interim() == 100
            second, other = guarded.upload(**fields), guarded.upload(**app(sub="dave", share=1))
        assert statuses(second, other) == [429, 202]
        assert problem(second, 429, QUOTA_EXCEEDED, guard="share")["violated-policies"] == ["share"]

    def test_an_idempotency_key_belongs_to_the_subject(self, guarded: Service) -> None:
        """It is the same upload from another address, and another one for another subject."""
        key = {"idempotency-key": '"one key"'}
        first, again = (guarded.upload(**app(sub="erin"), **key) for _ in range(2))
        other = guarded.upload(**app(sub="frank"), **key)
        assert first.headers["location"] == again.headers["location"] != other.headers["location"]

    def test_images_are_for_whoever_knows_their_address(self, guarded: Service) -> None:
        """Reading needs no ticket, and deleting the image's own token."""
        made = guarded.upload(**app(sub="gina"), prefer="wait=20").json()
        assert guarded.get(made["variants"]["thumb"]["url"]).status == 200
        with guarded.client() as client:
            token = {"authorization": f"Bearer {made['delete_token']}"}
            assert client.delete(made["links"]["self"], headers=token).status_code == 204


class TestClaims:
    """403 for what the ticket does not allow."""

    def test_variants_are_those_of_the_ticket(self, guarded: Service) -> None:
        """All of them unless some are asked for."""
        fields = app(sub="hank", variants=["thumb", "small"], rate=100)
        made = guarded.upload(**fields, prefer="wait=20").json()
        assert set(made["variants"]) | set(made["deferred"]) == {"thumb", "small"}
        with guarded.client() as client:
            asked = {
                names: client.post(
                    f"/v1/images?variants={names}",
                    content=SMALL,
                    headers={"content-type": "image/jpeg", **fields},
                )
                for names in ("thumb", "thumb,large")
            }
        assert asked["thumb"].status_code == 202
        assert "large" in problem(asked["thumb,large"], 403, "beyond-ticket")["detail"]
        assert asked["thumb,large"].headers["www-authenticate"] == 'Bearer error="insufficient_scope"'

    def test_variants_that_are_made_later_are_those_of_the_ticket_too(self, guarded: Service) -> None:
        """They need no ticket, but the delete token, which is in its place."""
        fields = app(sub="lena", variants=["thumb", "small"], rate=100) | {"prefer": "wait=20"}
        with guarded.client() as client:
            files = {"file": samples.jpeg(640, 480)}
            made = client.post("/v1/images?variants=thumb", files=files, headers=fields).json()
            owner = {"authorization": f"Bearer {made['delete_token']}", "prefer": "wait=20"}
            more = f"{made['links']['self']}/variants"
            other = client.post(f"{more}?variants=large", headers=owner)
            rest = client.post(more, headers=owner)
        assert "allows the variants" in problem(other, 403, "beyond-ticket")["detail"]
        assert set(rest.json()["variants"]) == {"thumb", "small"}

    def test_a_reference_of_the_ticket_is_the_document_s(self, guarded: Service) -> None:
        """Whoever uploads cannot give another one."""
        fields = {"content-type": "image/jpeg", **app(sub="ivan", reference="order 7")}
        with guarded.client() as client:
            answers = [
                client.post(f"/v1/images{query}", content=SMALL, headers=fields)
                for query in ("", "?reference=order+7", "?reference=order+8")
            ]
        assert statuses(*answers) == [202, 202, 403]
        assert {answer.json()["reference"] for answer in answers[:2]} == {"order 7"}

    def test_a_larger_file_than_the_ticket_allows_is_refused(self, guarded: Service) -> None:
        """By its head where that tells, else as it arrives."""
        fields = app(sub="judy", max_bytes=len(SMALL), rate=100)
        larger = samples.jpeg(640, 480)
        with guarded.client() as client:
            raw = {"content-type": "image/jpeg", **fields}
            answers = [
                client.post("/v1/images", content=larger, headers=raw),
                client.post("/v1/images", content=iter([larger]), headers=raw),
                client.post("/v1/images", files={"file": larger}, headers=fields),
                client.post("/v1/images", files={"file": SMALL}, headers=fields),
            ]
        assert statuses(*answers) == [403, 403, 403, 202]
        for answer in answers[:3]:
            assert "at most" in problem(answer, 403, "beyond-ticket")["detail"]

    def test_what_is_beyond_the_ticket_is_charged_to_the_address(self, guarded: Service) -> None:
        """So trying ends in 429, and the client of the ticket loses nothing."""
        address, fields = fresh_address(), app(sub="kate", max_bytes=5)
        answers = [guarded.upload(address=address, **fields) for _ in range(BURST + 1)]
        assert statuses(*answers) == [403] * BURST + [429]
        with guarded.client() as client:
            assert client.get("/v1/quota", headers=fields).json()["remaining"] == BURST


class TestDescription:
    """What programs and pages are told."""

    def test_the_api_description_has_a_scheme_for_tickets(self, guarded: Service) -> None:
        """Where uploads need one."""
        described = guarded.get("/openapi.json").json()
        assert described["components"]["securitySchemes"]["ticket"]["bearerFormat"] == "JWT"
        assert described["paths"]["/v1/images"]["post"]["security"] == [{"ticket": []}]

    def test_a_page_of_another_origin_may_send_a_ticket(self, guarded: Service) -> None:
        """Where CORS_ORIGINS lists it."""
        asks = {"origin": FOREIGN, "access-control-request-method": "POST"}
        asks["access-control-request-headers"] = "authorization"
        with guarded.client() as client:
            assert client.options("/v1/images", headers=asks).status_code == 200

    def test_no_secret_and_no_subject_is_told(self, guarded: Service) -> None:
        """Neither in the statistics and metrics nor in the log."""
        told = guarded.get("/v1/stats").body + guarded.get("/metrics").body + guarded.errors().encode()
        for hidden in (SECRET, "alice", "eyJ"):
            assert hidden.encode() not in told
