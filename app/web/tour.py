"""The tour of the page: four questions about load, each with an act that answers it, and the code."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from app.backpressure.brownout import Brownout
from app.backpressure.reservations import Reservations
from app.backpressure.token_bucket import GCRA
from app.backpressure.upload_queue import UploadQueue

Page = TypeVar("Page")
_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    """One step: a `question` with three answers, of which `right` is the number of the right one.

    `act` is played then, and `told` says what it showed. `function` is the code that did it.
    """

    title: str
    question: str
    answers: tuple[str, str, str]
    right: int
    act: str
    told: str
    function: Callable[..., Any]

    @cached_property
    def code(self) -> str:
        """The function's source, without its docstring."""
        source = textwrap.dedent(inspect.getsource(self.function))
        head, _, rest = source.partition('    """')
        body = rest.partition('"""\n')[2]
        return f"{head}{body}".rstrip()

    @cached_property
    def first_line(self) -> int:
        """The number of the function's first line in its file."""
        return inspect.getsourcelines(self.function)[1]

    @cached_property
    def last_line(self) -> int:
        """The number of its last line."""
        return self.first_line + len(inspect.getsourcelines(self.function)[0]) - 1

    @cached_property
    def file_lines(self) -> list[str]:
        """Every line of that file."""
        return Path(inspect.getsourcefile(self.function) or "").read_text().splitlines()

    @cached_property
    def place(self) -> str:
        """The file that the function is in, from the root of the project."""
        path = Path(inspect.getsourcefile(self.function) or "")
        return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


TOUR: Final = (
    Step(
        "The token bucket",
        "One client asks ten times as often as it may. Who notices?",
        ("Everybody: the service gets slower", "That client alone", "Nobody, until the queue is full"),
        1,
        "bully",
        "Its own bucket ran empty, and each answer named the moment of its next token. All other buckets "
        "stayed full.",
        GCRA.spend,
    ),
    Step(
        "The queue without a bound",
        "More photos come than can be made. What becomes of a service that takes them all?",
        ("It answers all, only later", "It refuses the last ones", "It dies, with all that it took"),
        2,
        "crowd",
        "The usual service took every photo until its memory was full, and lost them. Here the queue has a "
        "bound: whoever does not fit is told so before the photo is read.",
        UploadQueue.free_slots.fget,  # type: ignore[attr-defined]
    ),
    Step(
        "Backpressure",
        "The queue is full, and you are told to come back in 12 seconds. "
        "What do you gain by asking all the time?",
        ("A better chance", "Nothing", "You are shut out"),
        1,
        "patient",
        "Each refusal reserved the next free place. Whoever came back when told got in, before any newcomer; "
        "asking earlier gives the same moment again.",
        Reservations.request,
    ),
    Step(
        "Graceful degradation",
        "There is no place for your photo now. What is better than an error?",
        ("A preview at once, and the photo later", "Waiting with the connection open", "A smaller photo"),
        0,
        "lenient",
        "Those who asked for it got their own thumbnail at once. And when the queue is long, each photo is "
        "made in its smallest size first; the others follow when the pressure is gone.",
        Brownout.split,
    ),
)


def source_pages(render: Callable[..., Page], files: tuple[str, ...]) -> dict[str, Page]:
    """Pages that show the files of the tour, by their names below `/static/`, made by a page renderer."""
    return {f"source/{step.place}": render("source", step.place, files, step=step) for step in TOUR}
