"""The calibration: what a job takes on this machine, measured before there was one.

The first turns are told by it, when a crowd meets a service that has just started and nothing of an earlier
one's is known. A photo that the service makes itself stands for the jobs to come.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from app.engine.worker_process import environment

log = structlog.get_logger(__name__)

_WITHIN = 60.0
_BESIDE = 1.4
"""Seconds that a worker is busy with a job, for each second of CPU that its process takes: beside it there
are its birth, pipes and disk, and others who want the processor. What is taken for too long costs less than
what is taken for too short: places are free a moment sooner than they were promised."""


async def calibrate(variants: Sequence[str], tell: Callable[[float], None]) -> None:
    """Find out how many seconds a worker is busy with these variants of a photo, and `tell`.

    Takes half a second of CPU in a process of its own, which ends when this is cancelled. Where it fails
    nothing is told: what is made of real photos will tell.
    """
    try:
        async with asyncio.timeout(_WITHIN):
            cpu_s = await _measure(variants)
    except (OSError, ValueError, TimeoutError) as error:
        log.warning("what a job takes here is not known yet", reason=str(error) or "no answer")
        return
    log.info("a photo of 12 megapixels was made for trial", cpu_s=cpu_s)
    tell(cpu_s * _BESIDE)


async def _measure(variants: Sequence[str]) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "workers.trial_photo", *variants),
        stdout=PIPE,
        env=environment(),
        start_new_session=True,  # Ctrl+C in a terminal is the server's to handle
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was started with one
        said = await process.stdout.read()
        await process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return float(said)
