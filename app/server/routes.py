"""Routes that parse of a request no more than they use."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.server.problems import ProblemError

MAX_PARAMETERS = 64
"""Parameters that a query may have."""
_NO_PARAMETERS = QueryParams()


class TooManyParameters(ProblemError):
    """Raised when a query has more parameters than are ever needed."""

    slug = "bad-request"

    def __init__(self) -> None:
        super().__init__(f"The query has more than {MAX_PARAMETERS} parameters.")


class UnparsedRequest(Request):
    """A request whose query and cookies are not parsed: no endpoint declares any."""

    @property
    def query_params(self) -> QueryParams:
        """Nothing; see `query_of`."""
        return _NO_PARAMETERS

    @property
    def cookies(self) -> dict[str, str]:
        """Nothing."""
        return {}


class UnparsedRoute(APIRoute):
    """A route of FastAPI without its habit of parsing query and cookies for every request.

    A stranger's query of 8 KiB would take milliseconds of the event loop on each route, used or not.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which gets an `UnparsedRequest`."""
        handle = super().get_route_handler()

        async def handle_unparsed(request: Request) -> Response:
            return await handle(UnparsedRequest(request.scope, request.receive))

        return handle_unparsed


def query_of(scope: Scope) -> dict[str, str]:
    """The parameters of a request's query; of a repeated one, the last value.

    They are UTF-8, percent-encoded or not; U+FFFD stands for what is not.

    Raises:
        TooManyParameters: it has more than `MAX_PARAMETERS`.
    """
    query = scope["query_string"].decode(errors="replace")
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise TooManyParameters from None
