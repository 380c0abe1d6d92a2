"""The container image holds only what is named, and no secret."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
MADE_OF = {"app", "workers", "clients/python", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"}
SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bxox[abp]-"
    rb"|(?i:(?:password|passwd|secret|api_?key|token)\s*=\s*[\"'][^\"'{}\s]{8,}[\"'])"
)


def test_is_made_of_what_is_named() -> None:
    """Only named files enter the build context, so a stray .env or data folder never gets in."""
    first, *rest = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    assert first == "*"
    assert {line[1:] for line in rest if line.startswith("!")} == MADE_OF
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == MADE_OF


def test_holds_no_secret() -> None:
    """Neither its files nor its build instructions contain one."""
    files = [path for name in MADE_OF for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    assert len(files) > 100
    for path in (*files, ROOT / "Dockerfile", ROOT / "docker-compose.yml"):
        if path.suffix != ".pyc":
            found = SECRET.search(path.read_bytes())
            assert found is None, (path, found)
        assert path.suffix not in (".pem", ".key", ".p12", ".env"), path
    assert not re.search(r"^ARG |--mount=type=secret", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
