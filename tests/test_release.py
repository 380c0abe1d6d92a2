"""What makes a release: workflows with least rights, targets that exist, locks that fit; and the doctor."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from tools.doctor import PARTS, Part, report
from tools.licences import licences
from tools.locks import LOCKS, misfits

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()
MAY_WRITE = {
    "attest": {"attestations", "id-token"},
    "packages": {"id-token"},
    "image": {"attestations", "id-token"},
    "announce": {"contents"},
}
"""What each job that may write anything may write."""


def jobs() -> Iterator[tuple[str, Any]]:
    """Every job of every workflow, by name."""
    for path in WORKFLOWS:
        yield from yaml.safe_load(path.read_text())["jobs"].items()


# --- workflows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    """By 40 hexadecimal digits and its version beside them; an action is at the same commit everywhere."""
    uses = re.findall(r"uses: (\S+?)(?:@(\S+)(?: # (\S+))?)?$", path.read_text(), re.MULTILINE)
    assert uses
    everywhere = "".join(each.read_text() for each in WORKFLOWS)
    for action, commit, version in uses:
        if action.startswith("./"):
            assert (ROOT / action).exists()
            continue
        assert re.fullmatch(r"[0-9a-f]{40}", commit), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), action
        assert len(set(re.findall(rf"uses: {action}@(.*)$", everywhere, re.MULTILINE))) == 1


def test_every_job_has_the_least_rights() -> None:
    """None by default; who writes what stands in this test; checkouts leave no credentials behind."""
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {}
    for name, job in jobs():
        rights = job["permissions"]
        assert {right for right, kind in rights.items() if kind == "write"} == MAY_WRITE.get(name, set())
        assert set(rights.values()) <= {"read", "write"}
        assert ("steps" in job) == ("timeout-minutes" in job)
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_no_script_of_a_job_has_a_text_of_others_in_it() -> None:
    """An expression in a script is pasted before the shell reads it; variables of the environment are not."""
    for name, job in jobs():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", ""), name


def test_every_step_can_be_run_on_any_machine() -> None:
    """What is built and tried is a target of make, and part of the dry run, but for what asks a registry."""
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    called = {
        target
        for _, job in jobs()
        for step in job.get("steps", [])
        for target in re.findall(r"make ([a-z-]+)", step.get("run", ""))
    }
    assert called <= targets
    (dry_run,) = re.findall(r"^release-dry-run: (.*?) ##", MAKEFILE, re.MULTILINE)
    assert called - set(dry_run.split()) == {"doctor", "audit", "notes"}


def test_the_checks_run_on_every_python_that_is_promised() -> None:
    """From `requires-python` on."""
    check = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"]["check"]
    matrix = check["strategy"]["matrix"]["python"]
    assert tomllib.loads(PYPROJECT)["project"]["requires-python"] == f">={matrix[0]}"
    assert [tuple(map(int, each.split("."))) for each in matrix] == [(3, minor) for minor in range(11, 15)]


# --- versions, locks and licences -----------------------------------------------------------------------


def test_the_version_is_the_same_everywhere() -> None:
    """In the package, in its metadata and in those of the Python client."""
    client = (ROOT / "clients/python/pyproject.toml").read_text()
    assert {tomllib.loads(text)["project"]["version"] for text in (PYPROJECT, client)} == {__version__}


def test_the_notes_of_a_release_are_its_section_of_the_changelog(tmp_path: Path) -> None:
    """`make notes` prints what stands below the version's heading, and fails where there is none."""
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pyproject.toml").write_text('version = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- d\n\n## 1.2.0 - 2026-12-01\n\n- c\n\n## 1.1.0\n\n- b\n"
    )
    command = ["make", "--no-print-directory", "notes"]  # as where the tests are not run by make themselves
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout == "\n- c\n\n"
    (tmp_path / "pyproject.toml").write_text('version = "1.2"\n')
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (printed.returncode, printed.stdout) == (2, "")


def test_the_locks_have_what_pyproject_asks_for() -> None:
    """Each requirement in a version that it allows, with a hash; and no lock is left out."""
    assert set(LOCKS) == {path.name for path in ROOT.glob("requirements*.txt")}
    for name, groups in LOCKS.items():
        assert list(misfits(PYPROJECT, (ROOT / name).read_text(), groups)) == []


def test_a_lock_that_does_not_fit_is_told() -> None:
    """A package that is missing, one that is too old, and one without a hash."""
    lock = re.sub(r"(?m)^pillow==\S+", "pillow==1.0", (ROOT / "requirements.txt").read_text())
    lock = re.sub(r"(?m)^h11==.*\n(?: .*\n)*", "", lock) + "six==1.0\n"
    assert list(misfits(PYPROJECT, lock, ())) == [
        "h11 is missing",
        "pillow is 1.0 and not >=13",
        "six==1.0 has no hash",
    ]


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"License-Expression": "MIT OR Apache-2.0"}, {"MIT", "Apache-2.0"}),
        ({"License": "BSD-3-Clause"}, {"BSD-3-Clause"}),
        (
            {
                "License": "Copyright (c) …\nPermission is",
                "Classifier": "License :: OSI Approved :: MIT License",
            },
            {"MIT License"},
        ),
        ({"Classifier": "Programming Language :: Python"}, set()),
    ],
)
def test_a_licence_is_read_from_a_packages_metadata(metadata: dict[str, str], named: set[str]) -> None:
    """By the expression, the field or the classifiers."""
    from email.message import Message

    message = Message()
    for name, value in metadata.items():
        message[name] = value
    assert licences(message) == named


# --- the doctor -----------------------------------------------------------------------------------------


def test_the_doctor_tells_what_is_lacking_and_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 1 only for what the service cannot run without."""
    curl = Part("curl", lambda: "/usr/bin/curl", "no examples", "curl")
    gone = Part("nginx", lambda: "", "no proxies", "nginx-light")
    assert report((curl, gone)) == 0
    told = capsys.readouterr().out.split("\n")
    assert [line.split() for line in told[:3]] == [
        ["ok", "curl", "/usr/bin/curl"],
        ["lacks", "nginx"],
        ["without", "it:", "no", "proxies"],
    ]
    assert told[3].strip() == "get it: nginx-light"
    assert report((Part("Python", lambda: "", "nothing runs", "python3", is_needed=True),)) == 1


def test_the_doctor_knows_what_the_checks_install() -> None:
    """What `.ci/run` installs is a part with that package. Where tests run, nothing that is needed lacks."""
    packages = {package for part in PARTS for package in part.remedy.split()}
    installed = set(re.findall(r"(?:wanted|needed)\+=\(([a-z0-9 -]+)\)", (ROOT / ".ci/run").read_text()))
    assert {package for names in installed for package in names.split()} - packages == {"make"}
    assert all(part.find() for part in PARTS if part.is_needed)
