"""A start prints one line when the service is ready, and one clear line when it cannot start."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import __version__
from app.settings import Settings
from tests.conftest import Start
from tests.service import COMMAND, PATIENCE, Executed, environment, execute, run, serving

BAD_SETTINGS = {
    "rate": "0",
    "burst": "none",
    "port": "99999",
    "limiter": "bucket",
    "variants": "events=100",
    "queue_size": "-1",
    "retention": "soon",
    "max_upload_bytes": "0",
    "trusted_proxies": "10.0.0.0/33",
    "workers": "0",
    "store_url": "ftp://elsewhere",
    "engine_url": "carrier-pigeon:",
    "log_format": "xml",
    "demo": "perhaps",
}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def complaint(folder: Path, **settings: object) -> str:
    """The line that a start with these settings prints before it fails."""
    done = run("serve", folder=folder, **settings)
    assert done.returncode not in (0, None)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def folder_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are imported in place of those of the same name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{path}" if path else str(folder))
    return folder


class TestInterrupted:
    """A signal that comes while Python imports what a command needs."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize(
        ("command", "module", "serves"),
        [
            ("serve", "typer", True),
            ("serve", "fastapi", True),
            ("worker", "typer", True),
            ("check", "typer", False),
            ("check", "pydantic_settings", False),
            ("stampede http://127.0.0.1:9", "rich", False),
        ],
    )
    def test_ends_quietly(
        self,
        tmp_path: Path,
        folder_of_modules: Path,
        number: signal.Signals,
        command: str,
        module: str,
        serves: bool,
    ) -> None:
        """With 0 where the command is ended by signals, else with the status that shells give to a signal."""
        interrupt = f"import os, time\nos.kill(os.getpid(), {number:d})\ntime.sleep(30)\n"
        (folder_of_modules / f"{module}.py").write_text(interrupt)
        done = execute(*command.split(), folder=tmp_path)
        assert (done.stdout, done.stderr) == ("", "")
        assert done.returncode == (0 if serves else 128 + number)


class TestRefusing:
    """A start that is not possible ends with one clear line and a status other than 0."""

    def test_every_bad_setting_at_once(self, tmp_path: Path) -> None:
        """The line names every setting that is not valid."""
        line = complaint(tmp_path, **BAD_SETTINGS)
        for name in BAD_SETTINGS:
            if name != "workers":  # whether it is valid depends on the engine, which is not valid here either
                assert f"SPILLWAY_{name.upper()}" in line, name

    def test_a_bad_file(self, tmp_path: Path) -> None:
        """`.env` is read and checked too."""
        (tmp_path / ".env").write_text("SPILLWAY_BURST=many\n")
        assert "SPILLWAY_BURST" in complaint(tmp_path)

    def test_settings_that_contradict_one_another(self, tmp_path: Path) -> None:
        """The line names both settings."""
        line = complaint(tmp_path, brownout_low=0.8, brownout_high=0.5)
        assert "BROWNOUT_LOW" in line
        assert "BROWNOUT_HIGH" in line

    def test_a_taken_port(self, tmp_path: Path, taken: int) -> None:
        """The line names the port."""
        assert str(taken) in complaint(tmp_path, port=taken)

    def test_an_address_of_others(self, tmp_path: Path) -> None:
        """The address is not one of this machine."""
        assert "192.0.2.1" in complaint(tmp_path, host="192.0.2.1")

    def test_an_unwritable_store(self, tmp_path: Path) -> None:
        """The store's path cannot be a folder, or cannot be written."""
        (tmp_path / "file").write_text("not a folder")
        for path in (tmp_path / "file" / "below", Path("/proc/nowhere")):
            line = complaint(tmp_path, store_url=f"file:{path}", port=0, workers=1)
            assert str(path) in line

    def test_a_store_in_use(self, tmp_path: Path, start: Start) -> None:
        """A store that another service has open is refused."""
        service = start()
        line = complaint(tmp_path, port=0, workers=1)
        assert "in use" in line
        assert service.upload().status_code == 202

    def test_a_damaged_secret(self, tmp_path: Path) -> None:
        """A store whose secret is truncated is refused, because delete tokens would change."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "secret").write_bytes(b"short")
        assert "secret" in complaint(tmp_path, port=0, workers=1)


class TestStarting:
    """A start that succeeds."""

    def test_says_where_it_is(self, start: Start, folder_of_modules: Path) -> None:
        """One line with the address once connections are accepted; options override settings.

        A signal that comes when it has stopped, and Python itself ends, changes nothing.
        """
        hook = "if 'serve' in sys.orig_argv: atexit.register(os.kill, os.getpid(), signal.SIGINT)"
        (folder_of_modules / "sitecustomize.py").write_text(f"import atexit, os, signal, sys\n{hook}\n")
        service = start("--host", "127.0.0.1", "--port", "0", kind=Executed, port=1, host="192.0.2.1")
        assert re.search(r"http://127\.0\.0\.1:[0-9]+", service.ready_line)
        with service.client() as client:
            assert client.get("/healthz").status_code == 200

    def test_tells_its_children_no_secret(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """Processes that decode photos of strangers get neither settings nor keys to a store."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a key")
        service = start(kind=Executed, on_full="degrade")
        children = [*service.workers(), service.previewer()]
        told = [Path(f"/proc/{pid}/environ").read_bytes() for pid in children]
        assert len(told) >= 2
        assert not any(b"AWS_" in each or b"SPILLWAY_" in each for each in told)

    def test_uses_a_file_of_settings(self, tmp_path: Path, start: Start) -> None:
        """`.env` in the folder is used, below the environment; logs may be JSON."""
        (tmp_path / ".env").write_text("SPILLWAY_BURST=3\nSPILLWAY_RATE=9\nSPILLWAY_LOG_FORMAT=json\n")
        service = start(rate=0.5)
        with service.client() as client:
            quota = client.get("/v1/quota").json()
        assert (quota["limit"], quota["window_s"]) == (3, 6)
        assert all(line.startswith("{") for line in service.errors().splitlines())


class TestShowing:
    """`spillway check` and `--help`."""

    def test_check_shows_what_would_be_used(self, tmp_path: Path) -> None:
        """Every setting has a line with the value that would be used."""
        done = run("check", folder=tmp_path, burst=3, workers=1, worker_memory="64MiB")
        assert done.returncode == 0, done.stderr
        shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
        assert set(shown) == {f"SPILLWAY_{name.upper()}" for name in Settings.model_fields}
        assert shown["SPILLWAY_BURST"] == "3"
        assert shown["SPILLWAY_MAX_RECEIVING"] == "200"
        assert shown["SPILLWAY_VARIANTS"] == "large=1600,medium=800,small=320,thumb=96"
        assert "makes large: at most 1600 pixels along the longer side; jpeg, quality 80\n" in done.stderr

    def test_check_output_is_settings(self, tmp_path: Path) -> None:
        """Its output, used as `.env`, gives the same settings."""
        first = run("check", folder=tmp_path, burst=3, workers=1, worker_memory="64MiB")
        (tmp_path / ".env").write_text(first.stdout)
        second = run("check", folder=tmp_path)
        assert second.stdout == first.stdout

    def test_check_says_what_does_not_fit(self, tmp_path: Path) -> None:
        """More workers than CPUs: a line says so, and the status is 1."""
        done = run("check", folder=tmp_path, workers=256, worker_memory="1GiB")
        assert done.returncode == 1
        assert "WORKERS=256" in done.stderr

    def test_check_refuses_what_is_wrong(self, tmp_path: Path) -> None:
        """A setting that is not valid is one clear line here too."""
        done = run("check", folder=tmp_path, burst="many")
        assert done.returncode != 0
        assert "SPILLWAY_BURST" in done.stderr
        assert "Traceback" not in done.stderr

    def test_help_lists_every_setting(self, tmp_path: Path) -> None:
        """`serve --help` names each with its default."""
        done = run("serve", "--help", folder=tmp_path)
        assert done.returncode == 0
        for name in Settings.model_fields:
            assert re.search(rf"^\s+{name.upper()} +\S", done.stdout, re.MULTILINE), name

    def test_help_of_all(self, tmp_path: Path) -> None:
        """The bare command lists its subcommands."""
        done = execute("--help", folder=tmp_path)
        assert done.returncode == 0
        assert "serve" in done.stdout
        assert "check" in done.stdout


class TestNames:
    """Variables that look like settings and are none."""

    def test_check_and_serve_name_the_setting_that_was_meant(self, tmp_path: Path, start: Start) -> None:
        """In `.env` too: `check` exits with 1, `serve` warns once and starts."""
        (tmp_path / ".env").write_text("SPILLWAY_QUEUE_SZE=3\n")
        done = run("check", folder=tmp_path, workers=1, worker_memory="64MiB", bust=2)
        assert done.returncode == 1
        assert "SPILLWAY_QUEUE_SZE is no setting: did you mean SPILLWAY_QUEUE_SIZE?" in done.stderr
        assert "SPILLWAY_BUST is no setting: did you mean SPILLWAY_BURST?" in done.stderr
        service = start()
        assert service.errors().count("did you mean") == 1
        assert "spillway: warning: SPILLWAY_QUEUE_SZE" in service.errors()


class TestStoreCheck:
    """`spillway check` tries the store."""

    def test_a_store_that_works(self, tmp_path: Path, start: Start) -> None:
        """Before there is one, and while a service uses it; nothing is left behind."""
        done = run("check", folder=tmp_path, workers=1, worker_memory="64MiB")
        assert done.returncode == 0
        assert f"data is not there yet and can be made by uid {os.geteuid()}" in done.stderr
        assert not (tmp_path / "data").exists()
        service = start()
        before = sorted(service.store.rglob("*"))
        done = run("check", folder=tmp_path, workers=1, worker_memory="64MiB")
        assert done.returncode == 0
        assert f"data may be written by uid {os.geteuid()}" in done.stderr
        assert sorted(service.store.rglob("*")) == before

    def test_a_store_that_cannot_be_used(self, tmp_path: Path) -> None:
        """A line says so, and the status is 1."""
        (tmp_path / "file").write_text("no folder")
        for path in ("file/below", "/proc/nowhere"):
            store = {"store_url": f"file:{path}", "workers": 1, "worker_memory": "64MiB"}
            done = run("check", folder=tmp_path, **store)
            assert done.returncode == 1
            assert f"does not fit: the store {path} cannot be used" in done.stderr
            assert "Traceback" not in done.stderr


class TestCommand:
    """The command itself."""

    def test_version(self, tmp_path: Path) -> None:
        """One line with the version."""
        assert run("--version", folder=tmp_path).stdout == f"spillway {__version__}\n"

    def test_commands_in_the_order_in_which_people_need_them(self, tmp_path: Path) -> None:
        """The first is what most came for."""
        shown = run("--help", folder=tmp_path).stdout
        places = [shown.index(f"\n  {name} ") for name in ("serve", "check", "stampede", "worker")]
        assert places == sorted(places)
        assert "--install-completion" in shown

    def test_shells_complete_its_commands(self, tmp_path: Path) -> None:
        """The script that a shell loads, and what it asks for while somebody types."""
        # The command looks for the shell that started it; `true` keeps bash from becoming the command.
        script = subprocess.run(
            ["bash", "-c", f"{COMMAND} --show-completion; true"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert "complete" in script.stdout, script.stderr
        done = subprocess.run(
            [COMMAND],
            env=environment()
            | {"_SPILLWAY_COMPLETE": "complete_bash", "COMP_WORDS": "spillway s", "COMP_CWORD": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.stdout.split() == ["serve", "size", "stampede"]


class TestJson:
    """With LOG_FORMAT=json every line on both streams is a JSON object."""

    def test_a_life_with_warnings(self, tmp_path: Path) -> None:
        """The ready line, warnings about settings, jobs, a worker that dies, a stop."""
        with serving(tmp_path, kind=Executed, log_format="json", queue_sze=1, client_share=1000) as service:
            assert service.ended(service.upload().json()["id"])["status"] == "done"
            os.kill(service.workers()[0], signal.SIGKILL)
            assert service.ended(service.taken().json()["id"])["status"] == "done"
            service.process.send_signal(signal.SIGTERM)
            assert service.process.stdout is not None
            output = service.ready_line + service.process.stdout.read().decode()
            service.wait()
            errors = [json.loads(line) for line in service.errors().splitlines()]
        assert [json.loads(line)["url"] for line in output.splitlines()] == [service.url]
        assert all({"event", "level", "timestamp"} <= set(line) for line in errors)
        events = [line["event"] for line in errors]
        assert "SPILLWAY_QUEUE_SZE is no setting: did you mean SPILLWAY_QUEUE_SIZE?" in events
        assert "started" in events

    @pytest.mark.parametrize("where", ["environment", "file"])
    def test_a_start_that_fails(self, tmp_path: Path, where: str) -> None:
        """Even where the settings are not valid."""
        given = {"burst": "many", "log_format": "json"}
        if where == "file":
            (tmp_path / ".env").write_text("".join(f"SPILLWAY_{k}={v}\n" for k, v in given.items()))
        done = run("serve", folder=tmp_path, **({} if where == "file" else given))
        (line,) = done.stderr.splitlines()
        assert "SPILLWAY_BURST" in json.loads(line)["event"]
