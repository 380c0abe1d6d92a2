"""Checks that each lock file has what pyproject.toml asks for, in a version that it allows.

    python -m tools.locks

That the locks are complete and fit together is shown by `pip check` after an installation from them.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = {
    "requirements.txt": (),
    "requirements-dev.txt": ("dev",),
    "requirements-bench.txt": ("dev", "bench"),
    "requirements-docs.txt": ("docs",),
    "requirements-release.txt": ("release",),
}
"""The lock files, and the dependency groups that each has besides the dependencies."""


def pinned(lock: str) -> dict[str, set[str]]:
    """The versions of each package in a lock; there may be several, for different machines."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def misfits(pyproject: str, lock: str, groups: tuple[str, ...]) -> Iterator[str]:
    """A line for each requirement that a lock lacks or has in another version, and for what has no hash."""
    wanted = tomllib.loads(pyproject)
    lists = [wanted["project"]["dependencies"], *(wanted["dependency-groups"][group] for group in groups)]
    overridden = {Requirement(text).name for text in wanted["tool"]["uv"]["override-dependencies"]}
    versions = pinned(lock)
    for requirement in (Requirement(text) for texts in lists for text in texts):
        found = versions.get(canonicalize_name(requirement.name), set())
        if not found:
            yield f"{requirement.name} is missing"
        elif requirement.name not in overridden and not any(map(requirement.specifier.contains, found)):
            yield f"{requirement.name} is {', '.join(sorted(found))} and not {requirement.specifier}"
    entries = re.split(r"\n(?=\S)", lock.strip())
    yield from (f"{entry.split()[0]} has no hash" for entry in entries if "--hash=sha256:" not in entry)


def main() -> None:
    """Check every lock."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    found = [
        f"{name}: {line}"
        for name, groups in LOCKS.items()
        for line in misfits(pyproject, (ROOT / name).read_text(), groups)
    ]
    if found:
        sys.exit("\n".join([*found, "`make lock` writes them anew"]))
    print("the locks have what pyproject.toml asks for")


if __name__ == "__main__":
    main()
