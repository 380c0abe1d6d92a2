"""The password in ENGINE_URL is never shown."""

import json
from pathlib import Path

import pytest

from app.settings import SettingsError, load_settings
from tests.cluster.conftest import StartNats
from tests.cluster.servers import NatsServer, SpillwayWorker
from tests.service import run, serving, until
from tests.storage.servers import Moto

PASSWORD = "tell-nobody"  # noqa: S105 - of a server on loopback that runs for one test


@pytest.fixture
def guarded(start_nats: StartNats, tmp_path: Path) -> NatsServer:
    """A NATS server that asks for a password."""
    return start_nats(tmp_path, "--user", "spillway", "--pass", PASSWORD)


def credentials(url: str, password: str = PASSWORD) -> str:
    """`url` with a user and a password in it."""
    return url.replace("nats://", f"nats://spillway:{password}@")


def test_a_running_cluster_never_shows_the_password(guarded: NatsServer, moto: Moto, tmp_path: Path) -> None:
    """Not at the start, in no answer and in no log, also while NATS is away."""
    shared: dict[str, object] = {
        "engine_url": credentials(guarded.url),
        "store_url": f"s3://{moto.new_bucket()}/photos",
        "log_format": "json",
    }
    with (
        SpillwayWorker(tmp_path, **shared) as worker,
        serving(tmp_path, **{**shared, "workers": 0}) as service,
    ):
        assert service.ended(service.upload().json()["id"])["status"] == "done"
        guarded.kill()
        until(lambda: service.get("/readyz").status == 503, "the replica not to be ready")
        answers = [service.get(path).body for path in ("/readyz", "/v1/stats", "/metrics", "/openapi.json")]
        answers += [service.get("/").body, service.upload().content, service.ready_line.encode()]
        guarded.start()
        until(lambda: service.get("/readyz").status == 200, "the replica to be ready")
    answers += [service.errors().encode(), worker.errors().encode()]
    assert all(PASSWORD.encode() not in answer for answer in answers)


def test_check_shows_engine_url_without_passwords(tmp_path: Path) -> None:
    """It shows each server's address, without user, password or token."""
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
def test_a_bad_url_is_refused_without_showing_it(name: str, url: str) -> None:
    """The error names the setting and not its value."""
    with pytest.raises(SettingsError, match=f"^SPILLWAY_{name.upper()}: neither") as refusal:
        load_settings(**{name: url})
    assert PASSWORD not in str(refusal.value)


def test_a_wrong_password_is_reported(guarded: NatsServer, moto: Moto, tmp_path: Path) -> None:
    """The worker ends with the server's reason in one line, without either password."""
    wrong = "guessed-it"
    url = credentials(guarded.url, wrong)
    store = f"s3://{moto.new_bucket()}/photos"
    done = run("worker", folder=tmp_path, engine_url=url, store_url=store, workers=1, log_format="json")
    assert done.returncode != 0
    reason = [json.loads(line)["event"] for line in done.stderr.splitlines()][-1]
    assert reason.startswith(f"the engine at {guarded.url.removeprefix('nats://')} cannot be reached")
    assert "Authorization" in reason
    assert wrong not in done.stderr
