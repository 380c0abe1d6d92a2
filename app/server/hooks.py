"""What the server asks of the application that it serves."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.responses import Response

from app.server.fast_reject import FastReject
from app.server.problems import Problem, render

RenderProblem = Callable[[Problem, str, Iterable[str]], Response]
"""Makes the answer of a problem for a request's method and its Accept lines."""


def render_as_json(problem: Problem, method: str, accept: Iterable[str]) -> Response:  # noqa: ARG001
    """The answer for an application that has no pages."""
    return render(problem)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions of one application that its server calls, beside the application itself."""

    started: Callable[[], Awaitable[None]]
    """Returns when the application has started, while it is served already, or raises."""
    drain: Callable[[], Awaitable[None]]
    """Awaited at the first signal, while the server still answers."""
    fast_reject: FastReject
    """Asked about the head of each upload."""
    render_problem: RenderProblem
    """Makes the answer to a head that is refused before the application gets it."""
