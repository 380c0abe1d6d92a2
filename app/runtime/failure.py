"""How a command ends that cannot do what it was asked for."""

from typing import NoReturn


def fail(reason: object) -> NoReturn:
    """End the process with status 2, and with one line on standard error that says why."""
    from app.runtime import logs  # loaded by a command that needs it, not by each

    logs.complain(reason)
    raise SystemExit(2)
