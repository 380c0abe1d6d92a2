"""The service is killed at every step that touches the store, and at every answer, one after the other."""

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
"""The steps before an upload is acknowledged, in the order in which they must be."""
OUTCOME = """
fsync work/ID/tiny.jpg
rename work/ID/tiny.jpg to images/AB/ID/tiny.jpg
fsync images/AB/ID
create images/AB/ID/job.json.new
write images/AB/ID/job.json.new (done)
fsync images/AB/ID/job.json.new (done)
rename images/AB/ID/job.json.new (done) to images/AB/ID/job.json
rename images/AB/ID/source to images/AB/ID/original
"""
"""The steps before a variant is published and its source kept, in the order in which they must be."""
REPLACED = """
rename work/ID/tiny.jpg to images/AB/ID/tiny.provisional.jpg
write images/AB/ID/job.json.new (done, 2 deferred)
unlink images/AB/ID/tiny.provisional.jpg
"""
"""The steps in which the thumbnail of the upload stands in for a variant, which then replaces it."""
MORE = """
rename images/AB/ID/original to images/AB/ID/source
write images/AB/ID/job.json.new (done, 1 deferred, reopened)
"""
"""The steps before more variants of it are promised."""


@pytest.mark.timeout(600)
def test_nothing_is_lost_whenever_it_dies(tmp_path: Path) -> None:
    """The service runs once for each step of two whole runs, and goes on with the store of the run before.

    After each death every acknowledged job is on disk and all files are whole. At the end each job is done or
    failed, once, with all its variants, and the store holds nothing else.
    """
    found = steps(tmp_path / "whole")
    kinds = {"create", "write", "fsync", "rename", "unlink", "mkdir", "answer", "answered"}
    assert {step.split()[0] for step in found} >= kinds
    for order in (PROMISE, OUTCOME, REPLACED, MORE):
        expected = order.strip().splitlines()
        assert [step for step in found if step in expected] == expected
    witness = Witness()
    with lives(tmp_path / "killed") as life:
        for step in found:
            status = live(life, witness, step)
            if status == 0:  # some steps come only after a regular end of the run before
                status = live(life, witness, step)
            assert status == -9, f"{step} was not reached: {status}"
            witness.check_store(life.store)
        life.begin()
        witness.check_service(life)
        assert life.end() == 0
    assert len(witness.jobs) > len(found)
