"""The demo as published: `docker compose up`, used from the host."""

import functools
import io
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from .compose import ROOT, Project, docker

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

Job = dict[str, Any]  # the job document

GRACE = 30  # stop_grace_period; past it the engine kills


@functools.cache
def photo(width: int, height: int) -> bytes:
    """A detailed JPEG, which costs as much to resize as a real photo."""
    noise = Image.effect_noise((width, height), 60)
    gradient = Image.radial_gradient("L").resize((width, height))
    encoded = io.BytesIO()
    Image.merge("RGB", (noise, gradient, noise)).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def post(client: httpx.Client, image: bytes, prefer: str = "") -> httpx.Response:
    headers = {"Prefer": prefer} if prefer else {}
    return client.post("/v1/images", files={"file": ("photo.jpg", image, "image/jpeg")}, headers=headers)


def upload(client: httpx.Client, image: bytes, prefer: str = "") -> Job:
    """Upload as a client that waits as long as Retry-After says. Returns the accepted job."""
    for _ in range(20):
        answer = post(client, image, prefer)
        if answer.status_code not in (429, 503):
            assert answer.status_code in (201, 202), answer.text
            job: Job = answer.json()
            return job
        time.sleep(int(answer.headers["Retry-After"]))
    pytest.fail("never let in, though every Retry-After was honoured")


def check_every_size(client: httpx.Client) -> None:
    """Upload a photo, and check that all of its variants are made."""
    job = upload(client, photo(1200, 900), prefer="wait=25")

    assert job["status"] == "done"
    assert set(job["variants"]) == {"large", "medium", "small", "thumb"}
    for name, variant in job["variants"].items():
        served = client.get(variant["url"])
        assert served.status_code == 200, (name, served.text)
        with Image.open(io.BytesIO(served.content)) as image:
            assert image.size == (variant["width"], variant["height"])


def finished(client: httpx.Client, job: Job) -> Job:
    answer = client.get(f"/v1/images/{job['id']}", headers={"Prefer": "wait=25"})
    assert answer.status_code == 200, answer.text
    document: Job = answer.json()
    return document


def test_the_profile_that_watches_is_one_for_compose(project: Project) -> None:
    """Its images cannot be had in every place where the tests run, so it is only read."""
    services = docker("compose", "--profile", "watch", "config", "--services").split()
    assert {"spillway", "prometheus", "grafana"} <= set(services)


def test_an_upload_from_the_host_is_resized_and_served(client: httpx.Client) -> None:
    """An uploaded photo is made into its variants, encoded in the container."""
    check_every_size(client)


def test_hammering_from_the_host_ends_in_429(client: httpx.Client) -> None:
    """The host has a bucket of its own, which runs empty whatever stands between it and the container."""
    small = photo(64, 48)
    answers = [post(client, small) for _ in range(40)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["Content-Type"] == "application/problem+json"
    assert refused[0].json()["guard"] == "rate"
    time.sleep(int(refused[-1].headers["Retry-After"]))
    assert post(client, small).status_code in (202, 503)  # there is a token for it again


def test_images_outlive_a_restart_and_a_new_container(
    project: Project, client: httpx.Client, tmp_path: Path
) -> None:
    """Images are in the volume, not in the container, and in a backup as docs/upgrading.md makes it."""
    job = upload(client, photo(640, 480), prefer="wait=25")
    thumb = job["variants"]["thumb"]["url"]
    before = client.get(thumb).content

    project.compose("restart", "spillway")
    project.up("--no-build")
    assert client.get(thumb).content == before

    project.up("--no-build", "--force-recreate")
    assert client.get(thumb).content == before

    *_, backup, restore = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/upgrading.md").read_text(), re.DOTALL)
    project.script(backup, tmp_path)
    project.compose("down", "--volumes")
    project.script(restore, tmp_path)
    assert client.get(thumb).content == before


def test_stop_drains_and_keeps_what_was_accepted(project: Project, client: httpx.Client) -> None:
    """`docker compose stop` ends with 0 before the engine kills; the next start does the rest."""
    image = photo(3200, 2400)
    jobs = [upload(client, image) for _ in range(8)]

    began = time.monotonic()
    project.compose("stop", "spillway")
    took = time.monotonic() - began

    assert project.state()["ExitCode"] == 0, project.compose("logs", "--no-color", "--tail", "50")
    assert took < GRACE
    project.up("--no-build")
    assert [finished(client, job)["status"] for job in jobs] == ["done"] * len(jobs)


def test_kill_loses_nothing_that_was_accepted(project: Project, client: httpx.Client) -> None:
    """After `kill -9` of everything in the container each accepted job still ends done."""
    image = photo(3200, 2400)
    jobs = [upload(client, image) for _ in range(8)]

    project.compose("kill", "--signal", "KILL", "spillway")
    project.up("--no-build")

    assert [finished(client, job)["status"] for job in jobs] == ["done"] * len(jobs)


def test_the_published_memory_limit_holds_all_workers(project: Project) -> None:
    """`spillway check` has no objection but, on a small machine, to more workers than CPUs."""
    _, output = project.sh("spillway check")

    assert "SPILLWAY_WORKERS=2" in output
    assert [line for line in output.splitlines() if "does not fit" in line and "MEMORY" in line] == []


def test_the_service_has_no_privileges(project: Project) -> None:
    """No process is root's, has a capability, or can gain one."""
    _, lines = project.sh("grep -hE '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs)' /proc/[0-9]*/status")

    assert {tuple(line.split()) for line in lines.splitlines()} == {
        ("Uid:", *["10001"] * 4),
        ("Gid:", *["10001"] * 4),
        ("CapEff:", "0" * 16),
        ("CapBnd:", "0" * 16),
        ("NoNewPrivs:", "1"),
    }


@pytest.mark.parametrize("folder", ["/", "/venv", "/usr/local/bin", "/etc", "/var/tmp", "/home"])  # noqa: S108
def test_the_root_file_system_is_read_only(project: Project, folder: str) -> None:
    """Only the volume and a /tmp in memory can be written."""
    status, output = project.sh(f"touch {folder}/mark")

    assert status != 0
    assert "Read-only file system" in output


def test_the_image_holds_nothing_to_build_with(project: Project) -> None:
    """It has no compiler and no installer, and every module is compiled."""
    assert project.sh("command -v gcc cc make pip pip3")[1] == ""
    assert project.sh("python -c 'import pip'")[0] != 0
    assert project.sh("python -c 'import ensurepip'")[0] != 0
    sources = project.sh("find /venv -name '*.py' | wc -l")[1]
    assert project.sh("find /venv -name '*.pyc' | wc -l")[1] == sources
    assert project.sh("python -c 'import ctypes; ctypes.CDLL(\"libseccomp.so.2\")'")[0] == 0
