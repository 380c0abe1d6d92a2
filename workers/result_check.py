"""The outcome of a task, as its parent process finds it: a fork's message is checked, its silence explained.

A fork may have been taken over by a hostile image, so its message is passed on only if it can be true.
"""

import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

from workers.encode import file_name
from workers.failures import explain
from workers.fork import ForkExit
from workers.formats import SNIFF_BYTES, is_format
from workers.messages import Done, Failed, Message, Task
from workers.sandbox import largest_file
from workers.shapes import output_size
from workers.variants import Variant, read_specs

_REASONS_OF_FORKS = ("undecodable", "too-many-pixels", "too-much-memory", "worker-died", "no-space")


def failure(task: Task, reason: str, detail: str | None = None) -> Failed:
    """The message that `task` failed for `reason`; without a `detail` it has the usual sentence."""
    return Failed(task.id, reason, detail or explain(reason, task))


def check_message(task: Task, message: Message, fork_exit: ForkExit) -> Done | Failed:
    """The outcome by a fork's message, with what the fork consumed; a failure if it cannot be true."""
    if isinstance(message, Failed) and message.id == task.id and message.reason in _REASONS_OF_FORKS:
        return impossible_answer(task) if message.reason == "no-space" and _has_room(task) else message
    if isinstance(message, Done) and _is_possible(task, message):
        return replace(message, cpu_s=fork_exit.cpu_s, peak_bytes=fork_exit.peak_bytes)
    return impossible_answer(task)


def impossible_answer(task: Task) -> Failed:
    """The outcome when a fork wrote what no honest fork writes."""
    return failure(task, "worker-died", "The process that worked on the image gave an impossible answer.")


def explain_silence(task: Task, fork_exit: ForkExit) -> Failed:
    """The outcome when a fork ended without a message."""
    if fork_exit.signal == signal.SIGXCPU:
        return failure(task, "too-slow")
    if fork_exit.signal:
        name = signal.Signals(fork_exit.signal).name
        return failure(task, "worker-died", f"The process that worked on the image was ended by {name}.")
    return failure(task, "worker-died")


def _has_room(task: Task) -> bool:
    """Whether the disk has room for the largest variants that there can be.

    A job for which there was none is tried again until there is, so a fork must not be able to say so for
    ever.
    """
    variants = read_specs(task.variants)
    try:
        descriptor = os.open(Path(task.folder) / file_name(variants[0]), os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.posix_fallocate(descriptor, 0, largest_file(task, variants) * len(variants))
        finally:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
    except OSError:
        return False
    return True


def _is_possible(task: Task, done: Done) -> bool:
    variants = read_specs(task.variants)
    if done.id != task.id or len(done.made) != len(variants):
        return False
    return all(
        made.name == variant.name
        and made.format == variant.format
        and made.file == file_name(variant)
        and (made.width, made.height) == output_size(variant, (done.source.width, done.source.height))
        and (task.stand_in or not made.provisional)
        and _is_written(Path(task.folder), variant)
        for made, variant in zip(done.made, variants, strict=True)
    )


def _is_written(folder: Path, variant: Variant) -> bool:
    """Whether the variant is a regular file whose first bytes are those of its format."""
    try:
        descriptor = os.open(folder / file_name(variant), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return is_regular and is_format(variant.format, os.read(descriptor, SNIFF_BYTES))
    except OSError:
        return False
    finally:
        os.close(descriptor)
