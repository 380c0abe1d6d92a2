"""Conditional requests (RFC 9110, section 13)."""

from starlette.datastructures import Headers

from app.server.headers import matches_strongly, matches_weakly
from app.server.problems import ProblemError


class PreconditionFailed(ProblemError):
    """Raised when the representation is none of those that the client asked for by If-Match."""

    slug = "precondition-failed"

    def __init__(self) -> None:
        super().__init__("If-Match names another version than the one that is here.")


def is_not_modified(headers: Headers, *etags: str) -> bool:
    """Whether the client of a GET has one of the representations with these entity tags already (304).

    Raises:
        PreconditionFailed: it asked for others. That is looked at first (RFC 9110, section 13.2.2).
    """
    if "if-match" in headers and not matches_strongly(headers.getlist("if-match"), *etags):
        raise PreconditionFailed
    return matches_weakly(headers.getlist("if-none-match"), *etags)
