"""SIGKILL at every step in turn: each write, fsync, rename, removal and answer that there is."""

from pathlib import Path

import pytest

from tests.system.faults.lives import Witness, live, lives, steps

PROMISE = """
create spool/ID/source
write spool/ID/source
fsync spool/ID/source
create spool/ID/job.json
write spool/ID/job.json (queued)
fsync spool/ID/job.json (queued)
fsync spool/ID
mkdir images/AB
fsync images
rename spool/ID to images/AB/ID
fsync images/AB
answer POST 202
"""
"""What has to be on disk, and in which order, before an upload is acknowledged."""
OUTCOME = """
fsync work/ID/tiny.jpg
rename work/ID/tiny.jpg to images/AB/ID/tiny.jpg
fsync images/AB/ID
create images/AB/ID/job.json.new
write images/AB/ID/job.json.new (done)
fsync images/AB/ID/job.json.new (done)
rename images/AB/ID/job.json.new (done) to images/AB/ID/job.json
unlink images/AB/ID/source
"""
"""And before a variant is told of, and its source removed."""


@pytest.mark.timeout(300)
def test_nothing_is_lost_whenever_it_dies(tmp_path: Path) -> None:
    """One life for each step that two whole lives pass; each goes on with what the one before left.

    After each death every acknowledged job is on disk and all files are whole; at the end each job is done or
    failed, once, with all its variants, and the store holds nothing else.
    """
    found = steps(tmp_path / "whole")
    kinds = {"create", "write", "fsync", "rename", "unlink", "mkdir", "answer", "answered"}
    assert {step.split()[0] for step in found} >= kinds
    for order in (PROMISE, OUTCOME):
        expected = order.strip().splitlines()
        assert [step for step in found if step in expected] == expected
    witness = Witness()
    with lives(tmp_path / "killed") as life:
        for step in found:
            status = live(life, witness, step)
            if status == 0:  # some steps are only there after an end in peace
                status = live(life, witness, step)
            assert status == -9, f"{step} was not reached: {status}"
            witness.check_store(life.store)
        life.begin()
        witness.check_service(life)
        assert life.end() == 0
    assert len(witness.jobs) > len(found)
