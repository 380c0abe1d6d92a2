"""The exception for a failed job, with its reason and a sentence, and how errors of codecs map to it."""

import contextlib
import errno
from pathlib import Path

from PIL import Image

from workers.formats import SNIFF_BYTES, SOURCE_FORMATS, sniff
from workers.messages import Task

DETAILS = {
    "undecodable": "The file cannot be decoded as an image.",
    "too-many-pixels": "The image has more pixels than this service accepts.",
    "too-slow": "The image took longer to process than one image may.",
    "too-much-memory": "The image needs more memory than one image may have.",
    "worker-died": "The process that worked on the image died.",
    "cancelled": "The job was cancelled.",
    "no-space": "There was no room left to write the variants.",
    "no-process": "No process could be started for the image.",
}
"""The sentence for each reason if nothing more is known, not even the task."""
_SMALLER = "Send a smaller version of it."
_SAVE_AGAIN = "Open it in an image program, save it again, and send that."

_MEMORY_HINTS = ("out of memory", "memory allocation", "bad_alloc", "cannot allocate")
# From the message of libheif for pictures beyond its own limit, which it also reports as a failed allocation.
_TOO_LARGE = "exceeds the maximum image size"
_NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobError(Exception):
    """Raised when a job cannot be done.

    `reason` is one of `messages.REASONS`. `detail` is a sentence that clients may see; `is_precise` tells
    whether it is more than the usual one.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        self.reason = reason
        self.is_precise = detail is not None
        self.detail = detail or DETAILS[reason]
        super().__init__(f"{reason}: {self.detail}")


def explain(reason: str, task: Task) -> str:
    """The sentence for the reason why a task failed: with the bound that was passed, and what can be done."""
    match reason:
        case "undecodable":
            return explain_damage(_begins_as(task))
        case "too-many-pixels":
            return f"The image has more than the {task.max_pixels:,} pixels that are accepted. {_SMALLER}"
        case "too-slow":
            return f"The image took longer than the {task.timeout_s:g} s that one may take. {_SMALLER}"
        case "too-much-memory":
            allowed = mebibytes(task.memory_bytes)
            return f"The image needs more than the {allowed} of memory that one may have. {_SMALLER}"
        case _:
            return DETAILS[reason]


def explain_damage(format_: str | None) -> str:
    """What is said of a file that begins as one of this format, and cannot be decoded."""
    if format_ is None:
        return DETAILS["undecodable"]
    name = SOURCE_FORMATS[format_].name
    article = "an" if name[0] == "A" else "a"
    begins = f"The file begins as {article} {name}"
    return f"{begins}, but is damaged, or of a kind that cannot be decoded. {_SAVE_AGAIN}"


def too_many_pixels(size: tuple[int, int], max_pixels: int, frames: int = 1) -> JobError:
    """The failure of an image of this size, or of so many frames of it."""
    times = f" x {frames} frames" if frames > 1 else ""
    total = f"{size[0]} x {size[1]}{times} = {size[0] * size[1] * frames:,}"
    return JobError(
        "too-many-pixels",
        f"The image has {total} pixels, and at most {max_pixels:,} are accepted. {_SMALLER}",
    )


def too_much_memory(size: tuple[int, int], needed_bytes: int, allowed_bytes: int) -> JobError:
    """The failure of an image of this size that is known to need more memory than it may have."""
    return JobError(
        "too-much-memory",
        f"Decoding {size[0]} x {size[1]} pixels of this kind takes {mebibytes(needed_bytes)} of memory, "
        f"and one image may have {mebibytes(allowed_bytes)}. {_SMALLER}",
    )


def mebibytes(size_bytes: int) -> str:
    """A size in MiB, rounded up."""
    return f"{-(-size_bytes // 2**20):,} MiB"


def _begins_as(task: Task) -> str | None:
    with contextlib.suppress(OSError), Path(task.source).open("rb") as file:
        return sniff(file.read(SNIFF_BYTES))
    return None


def decoding_failure(error: Exception) -> JobError:
    """The failure that an exception in a decoder means; a hostile file can cause any exception."""
    if isinstance(error, JobError):
        return error
    if _TOO_LARGE in str(error) or isinstance(error, Image.DecompressionBombError):
        return JobError("too-many-pixels")
    if _is_out_of_memory(error):
        return JobError("too-much-memory")
    return JobError("undecodable")


def encoding_failure(error: Exception, name: str) -> JobError:
    """The failure that an exception while making the variant `name` means.

    The image has been decoded by then, so the fault is not with it.
    """
    if isinstance(error, JobError):
        return error
    if _is_out_of_memory(error):
        return JobError("too-much-memory")
    if isinstance(error, OSError) and error.errno in _NO_SPACE_ERRNOS:
        return JobError("no-space")
    if isinstance(error, OSError) and error.errno is None:
        # An encoder's own error code. The pixels are sound and the file can be written, so it lacked memory.
        return JobError("too-much-memory")
    return JobError("worker-died", f"The variant {name} could not be made ({type(error).__name__}).")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; codecs report it as MemoryError, as ENOMEM or in the text of an error."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(hint in text for hint in _MEMORY_HINTS)
