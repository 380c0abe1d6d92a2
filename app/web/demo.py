"""Make pressure: what the page's buttons and sliders ask for. With DEMO off none of this exists."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from app.server.problems import NotFound
from app.stampede.acts import ACTS
from app.web.demo_runner import DemoRunner
from app.web.demo_settings import DemoSettings, InvalidDemoSetting
from app.web.origin import same_origin


def own_url(host: str, port: int) -> str:
    """Where this server, which listens at `host`, is reached from its own machine."""
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidDemoSetting(f"{text[:20]!r} is no number.") from None


class Demo:
    """The levers and the acts of one server."""

    def __init__(self, levers: DemoSettings, runner: DemoRunner) -> None:
        self.levers = levers
        self.runner = runner

    def snapshot(self) -> dict[str, Any]:
        """Where the levers stand, and what is being played."""
        return self.levers.snapshot() | self.runner.snapshot()


def demo_router(demo: Demo, host: str) -> APIRouter:
    """The endpoints behind the page's buttons; `host` is where the server listens."""
    router = APIRouter(prefix="/v1/demo", tags=["demo"], dependencies=[Depends(same_origin)])
    names = {act.name for act in ACTS}

    def state(status: int = 200) -> Response:
        return JSONResponse(demo.snapshot(), status, headers={"Cache-Control": "no-store"})

    @router.post("/levers")
    async def turn(request: Request) -> Response:
        """Turn some levers, each a parameter of the query, such as `?rate=5&workers=1`."""
        demo.levers.set({name: _number(value) for name, value in request.query_params.items()})
        return state()

    @router.delete("/levers")
    async def back() -> Response:
        """Put all levers back to the settings."""
        demo.levers.reset()
        return state()

    @router.post("/acts/{name}")
    async def play(request: Request, name: str) -> Response:
        """Play an act of the stampede against this server."""
        if name not in names:
            raise NotFound
        demo.runner.play(name, own_url(host, request.scope["server"][1]))
        return state(202)

    @router.delete("/acts")
    async def stop() -> Response:
        """End the act that is being played."""
        await demo.runner.stop()
        return state()

    return router
