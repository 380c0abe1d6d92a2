"""What a process loads: only what it needs, so that it starts faster and takes less memory."""

import subprocess
import sys

WEB = {"fastapi", "starlette", "uvicorn", "httptools", "python_multipart"}


MAKE_SERVICE = """
from app.commands import _prepare
settings = _prepare()
from app.main import create_app
create_app(settings, serves_while_starting=True)
"""


def loaded(*modules: str, first: str = "") -> set[str]:
    """The top-level packages that a new interpreter has loaded after it ran `first` and imported modules."""
    names = "{name.partition('.')[0] for name in sys.modules}"
    code = f"{first}\nimport {', '.join(modules)}, sys; print(*{names})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


def test_the_engine_loads_no_web_framework() -> None:
    """None of its parts, nor what they import."""
    packages = loaded("app.engine.dispatcher", "app.engine.local", "app.engine.preview_worker")
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
    """By themselves they need no bucket, no NATS, no tickets, no webhooks, and no exporter of traces."""
    packages = loaded("app.server.uvicorn_server", "uvloop", first=MAKE_SERVICE)
    assert {"app", "fastapi"} <= packages
    assert not packages & {
        "obstore",
        "nats",
        "jwt",
        "cryptography",
        "httpx",
        "PIL",
        "rich",
        "google",
        "requests",
    }
