"""What is shown at the terminal: the figures of each act while it runs, and one table at the end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.stampede.acts import ActRun
from app.stampede.report import closing_table

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 30
_MB = 1_000_000


class Screen:
    """Shows a stampede: live figures on a terminal, a few plain lines in a file or pipe."""

    def __init__(self, console: Console, *, is_alone: bool = True) -> None:
        """Unless the stampede `is_alone`, what happened in an act is not told when it ends."""
        self.console = console
        self._is_alone = is_alone
        self._live: Live | None = None
        self._run: ActRun | None = None

    def print_line(self, line: str) -> None:
        """Print one line of text."""
        self.console.print(Text(line), soft_wrap=not self.console.is_terminal)

    @contextmanager
    def showing(self, run: ActRun, number: int, of: int) -> Iterator[None]:
        """A context that introduces an act, and shows its figures until it ends."""
        self.console.print()
        self.console.print(Text(f"Act {number} of {of}: the {run.act.title}", style="bold"))
        self.print_line(run.act.says)
        self._run = run
        if not self.console.is_terminal:
            try:
                yield
            finally:
                if self._is_alone:
                    self.console.print(_client_figures(run, styled=False), soft_wrap=True)
            if self._is_alone:
                self.print_line(run.outcome())
            return
        # Without the thread of rich, which would draw figures while they change.
        with Live(self._figures(), console=self.console, auto_refresh=False) as self._live:
            try:
                yield
            finally:
                self.draw()
                self._live = None
        if self._is_alone:
            self.print_line(run.outcome())

    def draw(self) -> None:
        """Show the figures as they are now."""
        if self._live is not None:
            self._live.update(self._figures(), refresh=True)

    def _figures(self) -> RenderableType:
        assert self._run is not None  # noqa: S101 - an act runs
        return Padding(Group(_client_figures(self._run), _server_figures(self._run)), (0, 2))

    def print_table(self, runs: Sequence[ActRun]) -> None:
        """Print the closing table."""
        self.console.print()
        self.console.print(Text("What was sent, answered, promised, kept", style="bold"))
        self.console.print(closing_table([(run.act.title, run.figures()) for run in runs]))


def _client_figures(run: ActRun, *, styled: bool = True) -> Text:
    ledger = run.ledger
    parts = [
        ("sent", ledger.sent, "bold"),
        ("accepted", ledger.answers[202], "green"),
        ("degraded", ledger.answers[200], "cyan"),
        ("429", ledger.answers[429], "yellow"),
        ("503", ledger.answers[503], "magenta"),
        ("408", ledger.answers[408], "blue"),
        ("reset", ledger.unanswered.total(), "bold red"),
        ("done", f"{ledger.done}/{ledger.promised}", "green"),
    ]
    text = Text()
    for name, value, style in parts:
        text.append("  " if text else "").append(f"{name} ", "dim" if styled else "")
        text.append(str(value), style if styled and value else "")
    return text


def _server_figures(run: ActRun) -> RenderableType:
    server = run.server
    grid = Table.grid(padding=(0, 2))
    full = server.queue >= server.capacity
    bar = ProgressBar(
        total=max(1, server.capacity),
        completed=min(server.queue, server.capacity),
        width=_WIDTH,
        complete_style="red" if full else "green",
        finished_style="red",
    )
    tokens = "" if server.bucket is None else f"bucket {server.bucket}/{server.bucket_size}"
    beside = f"receiving {server.receiving}, overflow {server.overflow}"
    grid.add_row("queue", bar, f"{server.queue}/{server.capacity}", beside, tokens)
    memory, peak = (f"{size / _MB:.0f} MB" for size in (server.memory_after, server.memory_peak))
    grid.add_row("memory", _spark_line(list(server.memory_samples)[-_WIDTH:]), memory, f"peak {peak}")
    return grid


def _spark_line(values: Sequence[int]) -> str:
    """A line of blocks, scaled from zero to the maximum: values that hardly change look flat."""
    maximum = max(values, default=0) or 1
    return "".join(_BLOCKS[min(7, math.floor(8 * value / maximum))] for value in values)
