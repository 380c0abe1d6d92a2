"""`python fault.py FAULT… -- serve`: the real service, with one part of the system failing as FAULT says.

Faults:
    slow=SECONDS     every write and fsync into the store takes so long
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def slow(seconds: str) -> None:
    """A disk that takes its time."""

    def delayed(call: Callable[..., Any]) -> Callable[..., Any]:
        def late(*args: Any, **kwargs: Any) -> Any:
            time.sleep(float(seconds))
            return call(*args, **kwargs)

        return late

    os.fsync = delayed(os.fsync)
    write = os.write
    os.write = lambda descriptor, data: (
        delayed(write)(descriptor, data)
        if "/data/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
        else write(descriptor, data)
    )


def main() -> None:
    """Bring about each fault, then be the command."""
    end = sys.argv.index("--")
    for each in sys.argv[1:end]:
        name, _, value = each.partition("=")
        {"slow": slow}[name](value)
    sys.argv = ["spillway", *sys.argv[end + 1 :]]
    from app.cli import main as command

    command()


if __name__ == "__main__":
    main()
