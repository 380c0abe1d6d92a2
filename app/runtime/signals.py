"""SIGINT and SIGTERM while nothing runs that must be ended first: before a start, and after a stop."""

import os
import signal
from types import FrameType


def end_at_signals(status: int | None = None) -> None:
    """From now on either signal ends this process at once, quietly, with this status.

    With None it is the status that shells give to a program which a signal ended: 128 and its number.
    Python itself would print a traceback at SIGINT, and where an exception is raised while a module is
    imported it may even be ignored.
    """

    def end(number: int, _: FrameType | None) -> None:
        os._exit(128 + number if status is None else status)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def interrupt_at_signals() -> None:
    """From now on the signals do what they do in any Python program: KeyboardInterrupt, and the end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
