"""A compose project for one test module: its own name, image, port and volume, removed afterwards."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.service import free_port

ROOT = Path(__file__).parents[3]
BASE_IMAGE = "python:3.13-slim"


class DockerError(AssertionError):
    """Raised when a docker command fails, with its output."""


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's environment without its settings, with those given."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SPILLWAY_", "COMPOSE_"))
    }
    return kept | {f"SPILLWAY_{name.upper()}": str(value) for name, value in settings.items()}


def docker(*arguments: str, timeout: float = 60, check: bool = True, **settings: object) -> str:
    """The output of a docker command, run without the settings in this process's environment."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(settings),
    )
    if check and done.returncode:
        raise DockerError(f"docker {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def why_no_engine(*images: str) -> str | None:
    """Why containers cannot be run here; an empty text if they can."""
    try:
        docker("version", timeout=20)
        docker("compose", "version", timeout=20)
    except FileNotFoundError:
        return "no docker command here"
    except (DockerError, subprocess.TimeoutExpired) as why:
        return f"no container engine with compose is reachable: {str(why).strip().splitlines()[-1]}"
    for image in (BASE_IMAGE, *images):
        try:
            docker("image", "inspect", image)
        except DockerError:
            try:
                docker("pull", "--quiet", image, timeout=90)
            except (DockerError, subprocess.TimeoutExpired):
                return f"the image {image} is not here and cannot be pulled"
    return None


class Project:
    """A compose file, used as an operator would use it but under a name of its own."""

    def __init__(
        self,
        name: str,
        scratch: Path,
        file: str = "docker-compose.yml",
        services: Sequence[str] = ("spillway",),
        dot_env: str = "",
    ) -> None:
        """`services` are those that run the service's own image; `dot_env` is what stands in `.env`."""
        self.name = name
        self._settings: dict[str, object] = {"port": free_port(), "front": f"172.30.{os.getpid() % 256}"}
        self.url = f"http://127.0.0.1:{self._settings['port']}"
        override = scratch / "override.yml"  # a developer's .env and image stay out of it
        own = (f"  {service}:\n    image: {name}\n    env_file: !reset []\n" for service in services)
        override.write_text("services:\n" + "".join(own))
        variables = scratch / "env"
        variables.write_text(dot_env)
        self._options = (
            *("--project-name", name, "--project-directory", str(ROOT), "--env-file", str(variables)),
            *("--file", str(ROOT / file), "--file", str(override)),
        )

    def set(self, **settings: object) -> None:
        """Have the shell say this from now on (lower-case names of settings)."""
        self._settings |= settings

    def compose(self, *arguments: str, timeout: float = 60, check: bool = True) -> str:
        return docker("compose", *self._options, *arguments, timeout=timeout, check=check, **self._settings)

    def script(self, text: str, folder: Path) -> None:
        """Run commands of a page in a folder: `docker compose` in them is this project, with its image."""
        script = text.replace("docker compose", shlex.join(["docker", "compose", *self._options]))
        script = script.replace("tar spillway ", f"tar {self.name} ")
        env = environment(self._settings)
        subprocess.run(["bash", "-euc", script], cwd=folder, env=env, check=True, timeout=120)

    def up(self, *options: str, timeout: float = 400) -> None:
        """Start, and wait until every health check passes."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "90", *options, timeout=timeout)
        except DockerError as why:
            raise DockerError(f"{why}\n{self.compose('logs', '--no-color', check=False)}") from None

    def sh(self, command: str, service: str = "spillway") -> tuple[int, str]:
        """The exit status and output of a shell command in the service's container."""
        done = self.compose("exec", "-T", service, "sh", "-c", f"({command}) 2>&1; s=$?; echo; echo $s")
        output, _, status = done.rpartition("\n")
        return int(status), output.strip()

    def state(self) -> dict[str, Any]:
        """The state of the container as the engine reports it: `ExitCode`, `OOMKilled`, …"""
        container = self.compose("ps", "--all", "--quiet", "spillway")
        state: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", container))
        return state

    def remove(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1", check=False)
        docker("image", "rm", "--force", self.name, check=False)
