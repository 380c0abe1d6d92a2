"""The process of one task: forked from the warm worker process, and confined to what the task needs."""

import os
from collections.abc import Callable

from workers import canary
from workers.failures import JobError
from workers.fork import Fork, start_fork
from workers.imaging import create_files, make_variants
from workers.messages import Message, Ready, Task
from workers.sandbox import Sandbox


def fork_starter(sandbox: Sandbox, layers: dict[str, str]) -> Callable[[Task], Fork]:
    """A function that starts the process of a task; it raises JobError, or OSError if there can be none.

    That process works only if it is confined by the same `layers` as in the rehearsal.
    """

    def start(task: Task) -> Fork:
        variants = create_files(task)

        def work() -> Message:
            if sandbox.confine_to_task(task, variants) != layers:
                raise JobError("worker-died", "The process for the image could not be confined.")
            return make_variants(task, variants)

        return start_fork(work, task.id)

    return start


def start_rehearsal(task: Task, sandbox: Sandbox) -> Fork:
    """Start a process that confines itself as for `task`, checks its codecs, and answers Ready."""

    def work() -> Message:
        layers = sandbox.confine_to_task(task, ())
        canary.check_codecs()
        return Ready(os.getpid(), layers)

    return start_fork(work, task.id)
