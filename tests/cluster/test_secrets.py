"""The password of the engine stands in its URL, and is told to nobody."""

from pathlib import Path

import pytest

from app.settings import SettingsError, load_settings
from tests.cluster.conftest import Engine
from tests.cluster.servers import Hand, NatsServer
from tests.service import run, serving, until
from tests.storage.servers import Moto

PASSWORD = "tell-nobody"  # noqa: S105 - of a server on loopback that lives for some tests


@pytest.fixture
def guarded(start_engine: Engine, tmp_path: Path) -> NatsServer:
    """An engine that lets in whoever knows the password."""
    return start_engine(tmp_path, "--user", "spillway", "--pass", PASSWORD)


def credentials(url: str, password: str = PASSWORD) -> str:
    """The URL with a user and a password in it."""
    return url.replace("nats://", f"nats://spillway:{password}@")


def test_a_running_cluster_says_nothing_of_the_password(
    guarded: NatsServer, moto: Moto, tmp_path: Path
) -> None:
    """Not at the start, not in what it tells of itself, and not while the engine is away."""
    shared: dict[str, object] = {
        "engine_url": credentials(guarded.url),
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "log_format": "json",
    }
    with Hand(tmp_path, **shared) as hand, serving(tmp_path, **{**shared, "workers": 0}) as service:
        assert service.ended(service.upload().json()["id"])["status"] == "done"
        guarded.die()
        until(lambda: service.get("/readyz").status == 503, "it to be called unready")
        answers = [service.get(path).body for path in ("/readyz", "/v1/stats", "/metrics", "/openapi.json")]
        answers += [service.get("/").body, service.upload().content, service.ready_line.encode()]
        guarded.start()
        until(lambda: service.get("/readyz").status == 200, "it to be ready")
    answers += [service.errors().encode(), hand.errors().encode()]
    assert all(PASSWORD.encode() not in answer for answer in answers)


def test_check_shows_the_engine_without_the_password(tmp_path: Path) -> None:
    """Each server by its address; a token is a password too."""
    url = f"nats://me:{PASSWORD}@one:4222,{PASSWORD}@two:4222,three:4222"
    done = run("check", folder=tmp_path, engine_url=url, store_url="s3://photos", workers=1)
    assert "SPILLWAY_ENGINE_URL=nats://***@one:4222,***@two:4222,three:4222\n" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("engine_url", f"nats://me:{PASSWORD}@no host:4222"),
        ("engine_url", f"amqp://me:{PASSWORD}@host:5672"),
        ("store_url", f"s3://me:{PASSWORD}@photos/prefix"),
    ],
)
def test_a_url_that_is_none_is_refused_without_showing_it(name: str, url: str) -> None:
    """The line names the setting alone."""
    with pytest.raises(SettingsError, match=f"^SPILLWAY_{name.upper()}: neither") as refusal:
        load_settings(**{name: url})
    assert PASSWORD not in str(refusal.value)


def test_an_engine_that_knows_another_password_is_told(guarded: NatsServer, tmp_path: Path) -> None:
    """In one line, with the server's word for it and without either password."""
    wrong = "guessed-it"
    url = credentials(guarded.url, wrong)
    done = run("worker", folder=tmp_path, engine_url=url, workers=1, log_format="json")
    assert done.returncode != 0
    *warnings, reason = done.stderr.splitlines()
    assert all(warning.startswith("spillway: warning: STORE_URL=file:") for warning in warnings)
    assert reason.startswith(
        f"spillway: the engine at {guarded.url.removeprefix('nats://')} cannot be reached"
    )
    assert "Authorization" in reason
    assert wrong not in done.stderr
