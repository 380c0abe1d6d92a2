"""`python -m workers [PARENT PID]`: a warm worker process. Standard input and output carry frames.

It ends when its standard input is closed, and with its parent. Exit status: 0 then, 1 when its codecs or
its confinement do not work, 2 when the parent sends anything but frames of the protocol.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from workers import process
from workers.canary import CanaryError, check_codecs
from workers.child import Child, ParentGone
from workers.codecs import load_codecs
from workers.failures import JobError
from workers.messages import Failed, ProtocolError, Ready, Task
from workers.sandbox import Sandbox
from workers.task_fork import fork_starter, start_rehearsal
from workers.warm_up import warm_up

_REHEARSAL_TIMEOUT_S = 30.0
_REHEARSAL_MEMORY_BYTES = 512 * 1024 * 1024


def main() -> int:
    """Serve the parent until it closes the pipe; the exit status."""
    requests, responses = process.set_up_child()
    process.lower_priority()
    try:
        sandbox, layers = prepare()
        child = Child(requests, responses, fork_starter(sandbox, layers))
        child.send(Ready(os.getpid(), layers))
        child.serve()
    except ParentGone:
        return 0
    except CanaryError as error:
        return _report(str(error), 1)
    except ProtocolError as error:
        return _report(str(error), 2)
    return 0


def prepare() -> tuple[Sandbox, dict[str, str]]:
    """Have all that a job needs in this process; the sandbox, and its layers that are in force.

    Raises CanaryError when a codec does not work.
    """
    threads = load_codecs()
    check_codecs()
    sandbox = Sandbox.prepare(threads=threads)
    with suppress(OSError, JobError):  # each job takes a little longer then
        warm_up()
    layers = _rehearse(sandbox)
    process.settle_memory()
    return sandbox, layers


def _rehearse(sandbox: Sandbox) -> dict[str, str]:
    """Try every codec in a confined fork; the layers of confinement that really are in force there.

    Raises CanaryError when a codec does not work in it.
    """
    here = Path(__file__).resolve()
    task = Task(
        id="rehearsal",
        source=str(here),
        folder=str(here.parent),
        variants=("it=1",),
        max_pixels=10**6,
        timeout_s=_REHEARSAL_TIMEOUT_S,
        memory_bytes=_REHEARSAL_MEMORY_BYTES,
    )
    message = start_rehearsal(task, sandbox).wait_for_message()
    if isinstance(message, Ready):
        return message.sandbox
    raise CanaryError(message.detail if isinstance(message, Failed) else "the confined codec check died")


def _report(problem: str, status: int) -> int:
    sys.stderr.write(f"spillway worker: {problem}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
