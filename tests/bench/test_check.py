"""The comparison with an earlier commit: what it calls slower, and what it leaves behind."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from bench.check import checkout, judge


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [
        ([11.0, 11.1, 10.9, 11.0, 11.2], [10.0, 10.0, 10.1, 10.0, 10.0], "slower"),
        ([9.0, 9.1, 9.0, 8.9, 9.0], [10.0, 10.1, 10.0, 10.0, 9.9], "faster"),
        ([10.0, 20.0, 40.0], [9.0, 18.0, 36.5], "slower"),  # the machine slowed both down
        ([10.0, 30.0, 10.0, 10.0, 10.0], [10.0, 10.0, 10.0, 10.0, 10.0], ""),  # one round was disturbed
        ([10.0, 12.0, 9.0, 11.0, 10.0], [10.0, 10.0, 10.0, 10.0, 10.0], ""),
        ([10.05, 10.05, 10.05], [10.0, 10.0, 10.0], ""),  # certain, and half a percent
        ([5.0, 5.0, 5.0], [5.0, 5.0, 5.0], ""),
    ],
)
def test_slower_is_what_costs_more_in_spite_of_the_noise(
    ours: list[float], theirs: list[float], word: str
) -> None:
    """By pairs of one round, not by their sums."""
    assert judge(ours, theirs).word == word


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_other_commit_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its worktree is there for the time of the comparison, whatever ends that."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (tmp_path / "file").write_text("first")
    git("add", "file")
    git("commit", "-qm", "first")
    (tmp_path / "file").write_text("second")
    with suppress(KeyboardInterrupt), checkout("HEAD", tmp_path) as folder:
        assert (folder / "file").read_text() == "first"
        raise KeyboardInterrupt
    assert not folder.exists()
    assert len(git("worktree", "list").splitlines()) == 1
    with pytest.raises(SystemExit, match="nothing cannot be checked out"), checkout("nothing", tmp_path):
        pass
