"""What the shell and `.env` say reaches the container, whoever runs in it, and nothing is left behind."""

import json
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import ROOT, Project, docker, why_no_engine

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image, built from this tree."""
    if why := why_no_engine():
        pytest.skip(why)
    name = f"spillway-test-{secrets.token_hex(4)}"
    docker("build", "--quiet", "--tag", name, str(ROOT), timeout=500)
    yield name
    docker("image", "rm", "--force", name, check=False)


@pytest.fixture
def project(image: str, tmp_path: Path) -> Iterator[Project]:
    """A demo of that image which is not started yet."""
    project = Project(image, tmp_path, services=("spillway", "stampede"))
    yield project
    project.compose("down", "--volumes", "--remove-orphans", "--timeout", "1", check=False)


def test_settings_of_the_shell_reach_the_container(project: Project) -> None:
    """Those with a value of the demo's own too; the ready line names the port that is published."""
    project.set(rate="3.5", queue_size="7", demo="false", workers="1", log_format="json")
    project.up("--no-build")
    shown = dict(
        line.split("=", 1) for line in project.sh("spillway check 2>&-")[1].splitlines() if "=" in line
    )
    assert shown["SPILLWAY_RATE"] == "3.5"
    assert shown["SPILLWAY_QUEUE_SIZE"] == "7"
    assert shown["SPILLWAY_DEMO"] == "false"
    assert shown["SPILLWAY_WORKERS"] == "1"
    (line,) = docker("logs", project.compose("ps", "--quiet", "spillway")).splitlines()
    assert json.loads(line)["url"] == project.url


def test_nothing_of_a_stampede_breaks_the_next_start(project: Project) -> None:
    """`down` removes its containers with their network."""
    for _ in range(2):
        project.compose("up", "--detach", "--no-build", "--scale", "stampede=2", timeout=200)
        project.compose("down", "--volumes", "--timeout", "1")
    assert project.compose("ps", "--all", "--quiet") == ""


def test_any_user_of_group_0_can_run_it(image: str) -> None:
    """As on platforms that choose the user; one of another group is told what is missing."""
    volume = f"{image}-any"
    try:
        command = ("run", "--rm", "--volume", f"{volume}:/data")
        shown = docker(
            *command, "--user", "123456:0", "--entrypoint", "sh", image, "-c", "spillway check 2>&1"
        )
        assert "/data may be written by uid 123456, gid 0" in shown
        refused = docker(
            *command,
            "--user",
            "123456:7",
            "--entrypoint",
            "sh",
            image,
            "-c",
            "spillway serve 2>&1",
            check=False,
        )
        assert "Permission denied at /data" in refused
        assert "uid 123456, gid 7" in refused
        assert "chown -R 123456 /data" in refused
    finally:
        docker("volume", "rm", "--force", volume, check=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.2", "::"])  # noqa: S104
def test_the_health_check_asks_where_it_listens(image: str, host: str) -> None:
    """Whatever HOST says."""
    container = docker(
        "run", "--detach", "--env", f"SPILLWAY_HOST={host}", "--env", "SPILLWAY_WORKERS=1", image
    )
    try:
        check = docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", container)
        kind, *command = json.loads(check)
        assert kind == "CMD"
        docker(
            "exec",
            container,
            "bash",
            "-c",
            f"for i in $(seq 200); do {shlex.join(command)} && exit; sleep .1; done; exit 1",
        )
    finally:
        docker("rm", "--force", "--volumes", container, check=False)
