"""The demo with a receiver of webhooks, as its compose file says."""

import secrets
from pathlib import Path

import httpx
import pytest

from tests import samples
from tests.service import until

from .compose import Project, docker, why_no_engine

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


def test_the_receiver_of_the_demo_prints_what_arrives_and_goes_with_it(tmp_path: Path) -> None:
    """One variable starts it and tells the service of it; `down` with the same one leaves nothing behind."""
    if why := why_no_engine():
        pytest.skip(why)
    project = Project(
        f"spillway-test-{secrets.token_hex(4)}",
        tmp_path,
        services=("spillway", "webhook"),
        dot_env="COMPOSE_PROFILES=webhook\n",
    )
    try:
        project.up("--build")
        photo = {"file": ("photo.jpg", samples.jpeg(64, 48), "image/jpeg")}
        with httpx.Client(base_url=project.url, timeout=30, trust_env=False) as client:
            job_id = until(lambda: client.post("/v1/images", files=photo).json().get("id"), "an upload", 60)
        printed = until(
            lambda: f'"image": "{job_id}"' in logs(project), "the webhook", show=lambda: logs(project)
        )
        assert printed
        assert " image.done " in logs(project)
        project.compose("down", "--volumes", "--timeout", "5")
        left = f"label=com.docker.compose.project={project.name}"
        assert docker("ps", "--all", "--quiet", "--filter", left) == ""
        assert docker("network", "ls", "--quiet", "--filter", left) == ""
    finally:
        project.remove()


def logs(project: Project) -> str:
    """What the receiver has printed."""
    return project.compose("logs", "--no-color", "webhook")
