"""`python -m workers [PARENT PID]`: a warm child. Standard input and output carry frames.

It ends when its standard input is closed, and with its parent. Exit status: 0 then, 1 when its codecs or
its confinement do not work, 2 when the parent sends what is no frame.
"""

import gc
import os
import sys
from pathlib import Path

from workers import process
from workers.canary import CanaryError, sing
from workers.child import Child, Orphaned
from workers.codecs import load_codecs
from workers.fork import rehearse, starter
from workers.messages import Failed, ProtocolError, Ready, Task
from workers.sandbox import Sandbox

_REHEARSAL_S = 30.0
_REHEARSAL_BYTES = 512 * 1024 * 1024


def main() -> int:
    """Serve the parent until it closes its end; answers the exit status."""
    orders, answers = process.serve_parent()
    process.give_way()
    try:
        load_codecs()
        sing()
        sandbox = Sandbox.prepared()
        layers = _rehearsed(sandbox)
        # What is loaded now stays for good, and counting through it in each fork would copy its pages.
        gc.collect()
        gc.freeze()
        child = Child(orders, answers, starter(sandbox, layers))
        child.send(Ready(os.getpid(), layers))
        child.serve()
    except Orphaned:
        return 0
    except CanaryError as error:
        return _complain(str(error), 1)
    except ProtocolError as error:
        return _complain(str(error), 2)
    return 0


def _rehearsed(sandbox: Sandbox) -> dict[str, str]:
    """Have a fork confine itself and try every codec: what it reports is what really is in force."""
    here = Path(__file__).resolve()
    job = Task("rehearsal", str(here), str(here.parent), ("it=1",), 10**6, _REHEARSAL_S, _REHEARSAL_BYTES)
    message = rehearse(job, sandbox).message()
    if isinstance(message, Ready):
        return message.sandbox
    raise CanaryError(message.detail if isinstance(message, Failed) else "the confined canary died")


def _complain(words: str, status: int) -> int:
    sys.stderr.write(f"spillway worker: {words}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
