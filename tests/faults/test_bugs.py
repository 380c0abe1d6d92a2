"""The service's own code fails: no job waits for ever, and no client is told more than that it did."""

import pytest

from tests.faults.conftest import Faulty
from tests.http.expect import problem


class TestOutcomes:
    """An exception that nobody foresaw meets a job that a worker has done."""

    def test_a_job_is_tried_again(self, faulty: Faulty) -> None:
        """As after a death: the second time it is well."""
        service = faulty("blunder=1")
        document = service.upload(prefer="wait=20").json()
        assert document["status"] == "done"
        assert "what came of a job could not be settled" in service.errors()
        service.kill()  # its log has a traceback, as it should

    def test_a_job_that_meets_it_always_fails(self, faulty: Faulty) -> None:
        """It is not tried for ever, and the worker goes on with others."""
        service = faulty("blunder=2")
        problem(service.upload(prefer="wait=20"), 500, "worker-died")
        assert service.upload(prefer="wait=20").status_code == 201
        assert not [name for name in service.stored() if name.startswith("work/")]
        service.kill()

    @pytest.mark.parametrize("times", [1, 3])
    def test_a_record_that_cannot_be_written(self, faulty: Faulty, times: int) -> None:
        """The job stays as it is on disk, and is done later."""
        service = faulty(f"confusion={times}")
        document = service.upload(prefer="wait=30").json()
        assert document["status"] == "done"
        assert service.settled()["jobs"]["done"] == 1
        service.kill()
