"""What can go wrong, in one small hierarchy below `SpillwayError`."""

from typing import Any


class SpillwayError(Exception):
    """Raised when the service does not do what it was asked for."""


class Refused(SpillwayError):
    """Raised when the service refuses a request for good: sending it again would change nothing.

    `status` is that of HTTP and `problem` the problem document (RFC 9457), empty if the answer was none.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"status {status}"))
        self.status = status
        self.problem = problem


class Gone(Refused):
    """Raised when there is no such image, or no longer."""


class JobFailed(SpillwayError):
    """Raised when the service took an image but could not make its variants; `problem` says why."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "the job failed"))
        self.problem = problem


class GaveUp(SpillwayError):
    """Raised when the service could not be reached, or took nothing, for longer than the client may wait."""
