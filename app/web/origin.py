"""Who may turn the levers: this server's own page, and no other that a browser has open."""

from urllib.parse import urlsplit

from fastapi import Request

from app.server.problems import ProblemError


class ForeignOrigin(ProblemError):
    """Raised when a request does not prove that it comes from this server's own page."""

    slug = "foreign-origin"

    def __init__(self) -> None:
        super().__init__("Only this server's own page may do this.")


def same_origin(request: Request) -> None:
    """A dependency that knows the page by the fields that a browser sets and no script can.

    Where Sec-Fetch-Site is not sent (over plain HTTP beyond loopback), Origin has to name this host.

    Raises:
        ForeignOrigin: one of them says otherwise, or there is neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    named = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not (named if site is None else site == "same-origin" and (named or origin is None)):
        raise ForeignOrigin
