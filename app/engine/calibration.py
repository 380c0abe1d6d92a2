"""Calibration: measures what a job takes on this machine before there has been a real one.

The first estimates of waiting times are based on it when many clients come to a service that has just started
for the first time. The measured job is of a photo that the service makes itself.
"""

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from app.engine.worker_process import spawn

log = structlog.get_logger(__name__)

_TIMEOUT_S = 60.0
_TERMINATE_AGAIN_S = 0.5
_BUSY_PER_CPU = 1.4
"""Seconds that a worker is busy with a job for each second of CPU that the job takes.

The rest is for the fork, the pipes, the disk, and others who want the processor. An estimate that is too long
costs less than one that is too short: places become free a moment earlier than clients were told."""


async def calibrate(variants: Sequence[str], report: Callable[[float], None]) -> None:
    """Measure for how many seconds a worker is busy with these variants of a photo, and call `report`.

    It takes about half a second of CPU in a process of its own, which ends when this is cancelled. If it
    fails, nothing is reported and the first real jobs are what estimates are based on.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            cpu_s = await measure_cpu_s(variants)
    except (OSError, ValueError, TimeoutError) as error:
        log.warning("how long a job takes could not be measured", reason=str(error) or "no answer")
        return
    log.info("how long a job takes was measured by a trial photo", cpu_s=cpu_s)
    report(cpu_s * _BUSY_PER_CPU)


async def measure_cpu_s(variants: Sequence[str]) -> float:
    """Seconds of CPU of a job of 12 megapixels. Raises OSError, or ValueError when it could not be told."""
    process = await spawn("workers.trial_photo", *variants)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        output = await process.stdout.read()
        await process.wait()
    except BaseException:
        await _end(process)
        raise
    return float(output)


async def _end(process: Process) -> None:
    """Have the process remove its files and end.

    It is asked until it has: what its handler of SIGTERM raises is lost where Python is just in a hook of
    `fork()`, or in a destructor.
    """
    while process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_TERMINATE_AGAIN_S):
                await process.wait()
