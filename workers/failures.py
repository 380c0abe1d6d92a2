"""The exception for a failed job, with its reason and a sentence, and how errors of codecs map to it."""

import errno

from PIL import Image

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
"""The sentence for each reason if nothing more precise is known."""

_MEMORY_HINTS = ("out of memory", "memory allocation", "bad_alloc", "cannot allocate")
# From the message of libheif for pictures beyond its own limit, which it also reports as a failed allocation.
_TOO_LARGE = "exceeds the maximum image size"
_NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobError(Exception):
    """Raised when a job cannot be done.

    `reason` is one of `messages.REASONS`. `detail` is a sentence that clients may see.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        self.reason = reason
        self.detail = detail or DETAILS[reason]
        super().__init__(f"{reason}: {self.detail}")


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
