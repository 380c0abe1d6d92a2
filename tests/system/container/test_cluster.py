"""The cluster as published: `docker compose -f docker-compose.cluster.yml up`, used from the host."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .compose import Project, why_no_engine
from .test_compose import check_every_size, finished, photo, post, upload

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

FILE = "docker-compose.cluster.yml"
IMAGES = ("nats:2.15.1-alpine", "nginx:1.30-alpine", "debian:bookworm-slim")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole cluster, built from this tree and running."""
    if why := why_no_engine(*IMAGES):
        pytest.skip(why)
    name = f"spillway-test-{secrets.token_hex(4)}"
    project = Project(name, tmp_path_factory.mktemp("cluster"), FILE, ("spillway", "worker"))
    try:
        project.up("--build", timeout=800)
        yield project
    finally:
        project.remove()


def stats(client: httpx.Client) -> Any:
    """The statistics of the replica that serves this client."""
    return client.get("/v1/stats").json()


def test_the_images_are_those_that_are_looked_for(project: Project) -> None:
    """No service pulls an image that the test does not expect."""
    services = json.loads(project.compose("config", "--format", "json"))["services"]
    made_here = ("build", "never")
    pulled = {
        service["image"] for service in services.values() if service.get("pull_policy") not in made_here
    }
    assert pulled == set(IMAGES[:2])


def test_an_upload_through_the_proxy_is_made_by_a_worker_and_served(client: httpx.Client) -> None:
    """An uploaded photo is made into its variants, and these are served."""
    check_every_size(client)
    assert len(stats(client)["workers"]) == 3


def test_nobody_is_somebody_else_by_saying_so(client: httpx.Client) -> None:
    """The proxy overwrites header fields that name an address, so that one client has one bucket."""
    small, statuses = photo(64, 48), []
    for number in range(40):
        forged = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}"}
        answer = client.post("/v1/images", files={"file": ("a.jpg", small, "image/jpeg")}, headers=forged)
        statuses.append(answer.status_code)

    assert 429 in statuses
    time.sleep(int(answer.headers.get("Retry-After", 1)))
    assert post(client, small).status_code in (202, 503)


def test_a_dead_worker_and_a_dead_engine_server_lose_nothing(project: Project, client: httpx.Client) -> None:
    """Jobs that were accepted before are done by the others."""
    image = photo(3200, 2400)
    jobs = [upload(client, image) for _ in range(8)]

    project.compose("kill", "--signal", "KILL", "nats-1", "worker")
    project.up("--no-build")

    end = time.monotonic() + 90
    for job in jobs:
        while (document := finished(client, job))["status"] != "done":
            assert time.monotonic() < end, document


def test_there_can_be_more_of_either(project: Project, client: httpx.Client) -> None:
    """With `--scale` the proxy finds new replicas, and the queue new workers."""
    project.up("--no-build", "--scale", "spillway=3", "--scale", "worker=4")

    end = time.monotonic() + 30
    while len(stats(client)["workers"]) != 4:
        assert time.monotonic() < end, stats(client)["workers"]
        time.sleep(0.2)
    assert upload(client, photo(640, 480), prefer="wait=25")["status"] == "done"


@pytest.mark.parametrize("service", ["spillway", "worker", "proxy", "nats-1", "s3"])
def test_root_file_systems_are_read_only(project: Project, service: str) -> None:
    """Only volumes, and /tmp in memory, take writes."""
    status, output = project.sh("touch /mark", service)

    assert status != 0
    assert "Read-only file system" in output
