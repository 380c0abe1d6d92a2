"""JavaScript packages of other people, for tests that use the service as their users do.

`tests/npm/package.json` names them. They are installed beside it when a test first wants them; without
Node.js, or where no registry of packages can be reached, such tests skip.
"""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "npm"
_INSTALLED = SOURCES / "node_modules"
_INSTALL_TIMEOUT_S = 100.0
_RUN_TIMEOUT_S = 60.0


def _is_installed() -> bool:
    """Whether the packages that the lock file names are there, by npm's own list of what it installed."""
    try:
        installed = json.loads((_INSTALLED / ".package-lock.json").read_text())["packages"]
    except (OSError, ValueError):
        return False
    locked = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    # Of packages for several machines only the one for this machine is installed.
    wanted = {name for name, each in locked.items() if name and not each.get("optional")}
    return all(installed.get(name, {}).get("version") == locked[name]["version"] for name in wanted)


def packages() -> Path:
    """The folder with the packages (`node_modules`); skips the test if they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node.js with npm is installed here")
    with (SOURCES / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want them at once
        if not _is_installed():
            try:
                subprocess.run(
                    [npm, "ci", "--prefer-offline"],
                    cwd=SOURCES,
                    capture_output=True,
                    check=True,
                    timeout=_INSTALL_TIMEOUT_S,
                )
            except (OSError, subprocess.SubprocessError):
                pytest.skip("npm cannot install the packages of tests/npm here")
    return _INSTALLED


def run_node(*arguments: object, folder: Path) -> str:
    """Run a script with Node.js in a folder; what it printed. Fails the test if the script fails."""
    done = subprocess.run(
        ["node", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_source(name: str, folder: Path) -> Path:
    """Copy a file of `tests/npm` to a folder, in which it then finds the packages."""
    link = folder / "node_modules"
    if not link.exists():
        link.symlink_to(packages())
    return Path(shutil.copy(SOURCES / name, folder))


def bundle(source: Path, platform: str = "browser") -> Path:
    """Make one module of a source and the packages that it imports, beside it, with esbuild.

    What it imports from an address it gets from there.
    """
    made = source.with_suffix(".bundle.mjs" if platform == "node" else ".bundle.js")
    options = ["--bundle", "--format=esm", "--external:http://*", "--log-level=warning"]
    options += [f"--platform={platform}", f"--outfile={made}"]
    run_node(packages() / "esbuild/bin/esbuild", source, *options, folder=source.parent)
    return made
