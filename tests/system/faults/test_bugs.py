"""Unexpected exceptions in the service's own code: no job waits for ever, and clients see no details."""

from tests.system.faults.conftest import Faulty
from tests.system.http.expect import problem


class TestOutcomes:
    """An unexpected exception while the outcome of a finished job is recorded."""

    def test_a_job_is_tried_again(self, faulty: Faulty) -> None:
        """The job is tried once more, as after the death of a worker, and is done."""
        service = faulty("blunder=1")
        document = service.upload(prefer="wait=20").json()
        assert document["status"] == "done"
        assert "the outcome of a job could not be recorded" in service.errors()
        service.kill()  # not stopped: `stop` would fail because of the traceback in its log

    def test_a_job_that_meets_it_always_fails(self, faulty: Faulty) -> None:
        """A job that fails in this way twice is given up, and the worker goes on with others."""
        service = faulty("blunder=2")
        problem(service.upload(prefer="wait=20"), 500, "worker-died")
        assert service.upload(prefer="wait=20").status_code == 201
        assert not [name for name in service.stored() if name.startswith("work/")]
        service.kill()

    def test_a_record_that_cannot_be_written(self, faulty: Faulty) -> None:
        """The job's record stays as it was, and the job is done later."""
        service = faulty("confusion=3")
        document = service.upload(prefer="wait=30").json()
        assert document["status"] == "done"
        assert service.settled()["jobs"]["done"] == 1
        service.kill()


class TestRequests:
    """An unexpected exception while a request is answered."""

    ORIGIN = "https://photos.example"

    def test_tells_nothing_of_itself(self, faulty: Faulty) -> None:
        """The answer is 500 with all usual headers and no detail of the exception, which is in the log."""
        service = faulty("panic", cors_origins=self.ORIGIN)
        with service.connect() as connection:
            for method in ("GET", "HEAD"):
                connection.head(f"{method} /v1/stats", f"Origin: {self.ORIGIN}")
                answer = connection.answer(body=method == "GET")
                assert answer.status == 500
                assert answer.headers["access-control-allow-origin"] == self.ORIGIN
                assert "unsafe" not in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["cache-control"] == "no-store"
                if method == "GET":
                    problem(answer, 500, "internal")
                    for word in ("fault", "Error", "Traceback", "tests", str(service.folder)):
                        assert word not in answer.body.decode().replace("Internal error", "")
            connection.head("GET /healthz")
            assert connection.answer().status == 200
        assert "LookupError" in service.errors()
        assert service.errors().count("Traceback") == 2
        service.kill()  # not stopped: `stop` would fail because of the tracebacks in its log
