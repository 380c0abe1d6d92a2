"""The fixed refusal that the baselines answer with: the bytes of one that Spillway gave."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (without those that the server adds itself) and body."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def save(self, path: Path) -> None:
        """Write it to a file, for the baseline's process."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: str) -> "Answer":
        """Read what `save` wrote."""
        found = json.loads(Path(path).read_text())
        return cls(found["status"], [(name, value) for name, value in found["headers"]], found["body"])


def serve(app: Any) -> None:
    """Run an ASGI application on the HTTP server that Spillway is built on, without any part of Spillway."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=True,
    )
    config.load()
    listener = config.bind_socket()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])
