"""Why a job fails, as one exception that carries the reason and a sentence for people."""

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
}
"""The sentence for each reason where nothing better is known."""

_MEMORY_HINTS = ("out of memory", "memory allocation", "bad_alloc", "cannot allocate")
# The words of libheif for pictures past its own bound; it calls that a failed allocation, too.
_TOO_LARGE = "exceeds the maximum image size"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JobError(Exception):
    """Raised when a job cannot be done; `reason` is one of `messages.REASONS`, `detail` a safe sentence."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        self.reason = reason
        self.detail = detail or DETAILS[reason]
        super().__init__(f"{reason}: {self.detail}")


def decoding_failure(error: Exception) -> JobError:
    """What an exception out of a decoder means; hostile files raise any of them."""
    if isinstance(error, JobError):
        return error
    if _TOO_LARGE in str(error) or isinstance(error, Image.DecompressionBombError):
        return JobError("too-many-pixels")
    if _is_out_of_memory(error):
        return JobError("too-much-memory")
    return JobError("undecodable")


def encoding_failure(error: Exception, name: str) -> JobError:
    """What an exception while making the variant `name` means: the image is fine by then, so we are not."""
    if isinstance(error, JobError):
        return error
    if _is_out_of_memory(error):
        return JobError("too-much-memory")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return JobError("no-space")
    if isinstance(error, OSError) and error.errno is None:
        # An encoder's own error code. It has sound pixels and a file that takes them: it lacked memory.
        return JobError("too-much-memory")
    return JobError("worker-died", f"The variant {name} could not be made ({type(error).__name__}).")


def _is_out_of_memory(error: Exception) -> bool:
    """Codecs report it as MemoryError, as OSError("out of memory") or as an error code in words."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    words = str(error).lower()
    return any(hint in words for hint in _MEMORY_HINTS)
