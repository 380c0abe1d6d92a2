"""`make recording`: the statistics of a real run, which docs/recording plays by the page's own scripts.

The page there refers to the stylesheets and scripts of this repository, so it is never older than these.
"""

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings
from app.stampede.acts import ACTS
from app.web.home import home_values
from app.web.pages import PageRenderer, Site
from tests.service import Service, serving

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "recording"
ACT = "crowd"
MAX_BYTES = 200_000
_SETTINGS: dict[str, Any] = {"demo": True, "workers": 2}
_AFTER = 5
"""Snapshots that are kept after the end of the act."""
_MAX_SNAPSHOTS = 90


def main() -> None:
    """Record the act, and write the page that shows it."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **_SETTINGS) as service:
        packed = gzip.compress(json.dumps(record(service), separators=(",", ":")).encode(), mtime=0)
    if len(packed) > MAX_BYTES:
        raise SystemExit(f"the recording has {len(packed)} bytes, more than {MAX_BYTES}")
    (FOLDER / "crowd.json.gz").write_bytes(packed)
    (FOLDER / "index.html").write_text(page())
    print(f"{FOLDER}: {len(packed)} bytes")


def record(service: Service) -> list[dict[str, Any]]:
    """Every snapshot from before the act until some seconds after its end."""
    with service.client() as client, client.stream("GET", "/v1/stats/stream") as stream:
        lines = stream.iter_lines()
        snapshots = [_next(lines)]
        httpx.post(f"{service.url}/v1/demo/acts/{ACT}", headers={"Origin": service.url}).raise_for_status()
        while snapshots[-1]["demo"]["last"] is None and len(snapshots) < _MAX_SNAPSHOTS:
            snapshots.append(_next(lines))
        return snapshots + [_next(lines) for _ in range(_AFTER)]


def _next(lines: Any) -> dict[str, Any]:
    data = next(line for line in lines if line.startswith("data: "))
    snapshot: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return snapshot


def page() -> str:
    """The page of the recording, without the links to pages of a service."""
    settings = Settings(_env_file=None, **_SETTINGS)
    pages = PageRenderer(".", {}, Site(root="../../app/web"))
    act = next(act for act in ACTS if act.name == ACT)
    values = home_values(settings) | {"act": act}
    text = pages.render_text(
        "recording", "A crowd · Spillway", ("upload.css", "path.css", "minute.css"), **values
    )
    return re.sub(r'(<a\b[^>]*?) href="\.\./\.\./app/web/(?!static/)[^"]*"', r"\1", text)


if __name__ == "__main__":
    main()
