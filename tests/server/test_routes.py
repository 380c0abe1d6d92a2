"""Routes that parse nothing that they do not use."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from app.api.image_routes import router as image_router
from app.api.status import operations_router
from app.api.status import router as status_router
from app.server.routes import MAX_PARAMETERS, TooManyParameters, UnparsedRoute, query_of
from app.settings import Settings
from app.web.pages import pages_router


def request(query: bytes) -> Request:
    """A request with a query."""
    return Request({"type": "http", "query_string": query})


@pytest.mark.anyio
async def test_the_query_and_cookies_of_a_request_are_not_parsed() -> None:
    """FastAPI would do so for each request, used or not; where they are used, `query_of` parses them."""
    router = APIRouter(route_class=UnparsedRoute)

    @router.get("/")
    async def endpoint(request: Request) -> list[object]:
        return [type(request).__name__, dict(request.query_params), request.cookies, query_of(request.scope)]

    app = FastAPI()
    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        answer = await client.get("/?a=b", headers={"cookie": "c=d"})
    assert answer.json() == ["UnparsedRequest", {}, {}, {"a": "b"}]


def test_no_route_of_the_service_parses_them() -> None:
    """Every router makes its routes so."""
    for router in (image_router, status_router, operations_router, pages_router(Settings())):
        assert router.routes
        assert all(isinstance(route, UnparsedRoute) for route in router.routes)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (b"", {}),
        (b"variants=a,b", {"variants": "a,b"}),
        (b"variants=%61&variants=b%2Cc&x", {"variants": "b,c", "x": ""}),
        (b"&".join([b"a=b"] * MAX_PARAMETERS), {"a": "b"}),
    ],
)
def test_a_query_is_parsed_where_it_is_used(query: bytes, parameters: dict[str, str]) -> None:
    """Of a repeated parameter the last one counts."""
    assert query_of(request(query)) == parameters


@pytest.mark.parametrize("separator", [b"&", b"a&", b"a=b&"])
def test_a_query_has_a_bounded_number_of_parameters(separator: bytes) -> None:
    """Empty ones count too."""
    with pytest.raises(TooManyParameters):
        query_of(request(separator * MAX_PARAMETERS))
