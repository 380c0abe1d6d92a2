"""What the people at the terminal see: each act while it is played, and one table at the end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.stampede.acts import Stage
from app.stampede.report import closing

_SPARKS = "▁▂▃▄▅▆▇█"
_BAR = 30
_MB = 1_000_000


class Screen:
    """The screen of one show: live on a terminal, a few plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._stage: Stage | None = None

    def say(self, line: str) -> None:
        """One line of text."""
        self.console.print(Text(line), soft_wrap=not self.console.is_terminal)

    @contextmanager
    def playing(self, stage: Stage, number: int, of: int) -> Iterator[None]:
        """Introduce an act, and show its figures until the block ends."""
        self.console.print()
        self.console.print(Text(f"Act {number} of {of}: the {stage.act.title}", style="bold"))
        self.say(stage.act.says)
        self._stage = stage
        if not self.console.is_terminal:
            try:
                yield
            finally:
                self.console.print(_answers(stage, styled=False), soft_wrap=True)
            return
        # Not by rich's own thread: the figures must not change while they are drawn.
        with Live(self._drawn(), console=self.console, auto_refresh=False) as self._live:
            try:
                yield
            finally:
                self.draw()
                self._live = None

    def draw(self) -> None:
        """Show the figures as they are now."""
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)

    def _drawn(self) -> RenderableType:
        assert self._stage is not None  # noqa: S101 - an act is being played
        return Padding(Group(_answers(self._stage), _server(self._stage)), (0, 2))

    def close(self, stages: Sequence[Stage]) -> None:
        """The closing table."""
        self.console.print()
        self.console.print(Text("What was sent, answered, promised, kept", style="bold"))
        self.console.print(closing([(stage.act.title, stage.figures()) for stage in stages]))


def _answers(stage: Stage, *, styled: bool = True) -> Text:
    ledger = stage.ledger
    parts = [
        ("sent", ledger.sent, "bold"),
        ("accepted", ledger.answers[202], "green"),
        ("degraded", ledger.answers[200], "cyan"),
        ("429", ledger.answers[429], "yellow"),
        ("503", ledger.answers[503], "magenta"),
        ("408", ledger.answers[408], "blue"),
        ("reset", ledger.unseen.total(), "bold red"),
        ("done", f"{ledger.done}/{ledger.promised}", "green"),
    ]
    text = Text()
    for name, value, style in parts:
        text.append("  " if text else "").append(f"{name} ", "dim" if styled else "")
        text.append(str(value), style if styled and value else "")
    return text


def _server(stage: Stage) -> RenderableType:
    watch = stage.watch
    grid = Table.grid(padding=(0, 2))
    full = watch.queue >= watch.capacity
    bar = ProgressBar(
        total=max(1, watch.capacity),
        completed=min(watch.queue, watch.capacity),
        width=_BAR,
        complete_style="red" if full else "green",
        finished_style="red",
    )
    tokens = "" if watch.bucket is None else f"bucket {watch.bucket}/{watch.bucket_size}"
    grid.add_row("queue", bar, f"{watch.queue}/{watch.capacity}", f"dock {watch.dock}", tokens)
    memory, peak = (f"{size / _MB:.0f} MB" for size in (watch.memory_after, watch.memory_peak))
    grid.add_row("memory", _sparks(list(watch.trace)[-_BAR:]), memory, f"peak {peak}")
    return grid


def _sparks(values: Sequence[int]) -> str:
    """A line of blocks from nought to the highest, so that what is flat looks flat."""
    most = max(values, default=0) or 1
    return "".join(_SPARKS[min(7, math.floor(8 * value / most))] for value in values)
