"""What a job came to, judged by the warm child: a fork's word is checked, its silence explained."""

import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

from workers.encode import file_name, largest_side
from workers.failures import DETAILS
from workers.fork import Death
from workers.formats import SNIFF_BYTES, has_magic
from workers.messages import Done, Failed, Message, Task
from workers.variants import Variant, parse_variants

_FORK_MAY_SAY = ("undecodable", "too-many-pixels", "too-much-memory", "worker-died", "no-space")


def failed(job: Task, reason: str, detail: str | None = None) -> Failed:
    """`job` failed for `reason`, with the usual sentence for it unless `detail` says more."""
    return Failed(job.id, reason, detail or DETAILS[reason])


def spoken(job: Task, message: Message, death: Death) -> Done | Failed:
    """The verdict on a fork's message, which may be a lie: it is passed on only if it could be true."""
    if isinstance(message, Failed) and message.id == job.id and message.reason in _FORK_MAY_SAY:
        return message
    if isinstance(message, Done) and _is_possible(job, message):
        return replace(message, cpu_s=death.cpu_s, peak_bytes=death.peak_bytes)
    return impossible(job)


def impossible(job: Task) -> Failed:
    """The verdict on an answer that no honest fork gives."""
    return failed(job, "worker-died", "The process that worked on the image gave an impossible answer.")


def silent(job: Task, death: Death) -> Failed:
    """The verdict on a fork that ended without a message."""
    if death.signal == signal.SIGXCPU:
        return failed(job, "too-slow")
    if death.signal:
        name = signal.Signals(death.signal).name
        return failed(job, "worker-died", f"The process that worked on the image was ended by {name}.")
    return failed(job, "worker-died")


def _is_possible(job: Task, done: Done) -> bool:
    variants = parse_variants(",".join(job.variants))
    if done.id != job.id or len(done.made) != len(variants):
        return False
    return all(
        made.name == variant.name
        and made.format == variant.format
        and made.file == file_name(variant)
        and max(made.width, made.height) <= largest_side(variant)
        and _is_written(Path(job.folder), variant)
        for made, variant in zip(done.made, variants, strict=True)
    )


def _is_written(folder: Path, variant: Variant) -> bool:
    """Whether the variant is a plain file that begins as its format does."""
    try:
        descriptor = os.open(folder / file_name(variant), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return plain and has_magic(variant.format, os.read(descriptor, SNIFF_BYTES))
    except OSError:
        return False
    finally:
        os.close(descriptor)
