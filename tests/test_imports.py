"""What a process loads: only what it needs, so that it starts faster and takes less memory."""

import subprocess
import sys

import pytest

WEB = {"fastapi", "starlette", "uvicorn", "httptools", "python_multipart"}


def loaded(*modules: str) -> set[str]:
    """The top-level packages that a new interpreter has loaded after importing modules."""
    code = f"import {', '.join(modules)}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize("module", ["app.engine.dispatcher", "app.engine.local", "app.engine.preview_worker"])
def test_the_engine_loads_no_web_framework(module: str) -> None:
    """Whichever part of it is imported."""
    packages = loaded(module)
    assert "app" in packages
    assert not packages & WEB


def test_a_worker_loads_no_web_framework() -> None:
    """All that `spillway worker` imports, and what the store and the engine import when they are made."""
    packages = loaded(
        "app.commands",
        "app.factory",
        "app.cluster.factory",
        "app.cluster.worker",
        "app.storage.s3.store",
        "app.settings",
        "app.runtime.logs",
        "uvloop",
    )
    assert {"app", "nats", "obstore"} <= packages
    assert not packages & {*WEB, "httpx"}  # only a process that sends webhooks needs that


def test_the_service_loads_only_what_its_settings_need() -> None:
    """By themselves they need no bucket, no NATS, no tickets and no webhooks."""
    packages = loaded("app.main", "app.commands", "app.server.uvicorn_server")
    assert {"app", "fastapi"} <= packages
    assert not packages & {"obstore", "nats", "jwt", "cryptography", "httpx", "PIL"}
