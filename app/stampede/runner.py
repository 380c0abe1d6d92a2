"""The show: the acts one after another, a table at the end, and whether anything was lost."""

import asyncio
import json
import resource
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from app.stampede.acts import ACTS, Act, Pressure, Stage, perform, tokens_per_s
from app.stampede.http_client import Unseen
from app.stampede.photos import camera
from app.stampede.screen import Screen
from app.stampede.server_stats import NoSpillway, stats
from app.stampede.target import BadTarget, Target, resolve

_FRAME_S = 0.25
_FILES = 4096
KEPT, LOST, INTERRUPTED = 0, 1, 130
"""Exit statuses: nothing lost, something lost, ended by the one who watched."""


def run(url: str, names: Sequence[str], pressure: Pressure, photo: Path | None, *, as_json: bool) -> int:
    """Play the acts of these names (all without any) at the server behind `url`; the exit status.

    The show goes to standard output; with `as_json` to standard error, and the closing table as JSON to
    standard output.

    Raises:
        BadTarget: the URL cannot be used, its host is public, or no Spillway answers there.
        OSError: the photo cannot be read.
    """
    targets = resolve(url)
    acts = [act for act in ACTS if not names or act.name in names]
    screen = Screen(Console(stderr=as_json, soft_wrap=False))
    data = None if photo is None else photo.read_bytes()
    _allow_files()
    stages: list[Stage] = []
    return asyncio.run(_show(targets, acts, pressure, data, screen, stages, as_json=as_json))


async def _show(
    targets: Sequence[Target],
    acts: Sequence[Act],
    pressure: Pressure,
    photo: bytes | None,
    screen: Screen,
    stages: list[Stage],
    *,
    as_json: bool,
) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    interrupted = False
    try:
        target = await _reachable(targets)
        tokens = await tokens_per_s(target)
        if photo is None:
            screen.say("Making a photo of 12 megapixels …")
            photo = await asyncio.to_thread(camera)
        screen.say(_opening(target, len(photo)))
        for number, act in enumerate(acts, 1):
            stage = Stage(act, target, pressure, target.sources(ACTS.index(act)), tokens)
            with screen.playing(stage, number, len(acts)):
                stages.append(stage)
                drawing = asyncio.create_task(_draw(screen))
                try:
                    await perform(stage, photo)
                finally:
                    drawing.cancel()
    except asyncio.CancelledError:
        interrupted = True
    except (Unseen, NoSpillway) as error:
        if not stages:
            raise BadTarget(str(error)) from None
        screen.say(f"The server is gone: {error}.")
    return _end(screen, stages, len(acts), interrupted=interrupted, as_json=as_json)


def _end(screen: Screen, stages: list[Stage], acts: int, *, interrupted: bool, as_json: bool) -> int:
    played = [stage for stage in stages if stage.ledger.sent]
    whole = len(played) == acts and all(stage.ledger.whole for stage in played)
    if played:
        screen.close(played)
    if interrupted:
        screen.say("Interrupted: this is what came of it so far. Accepted jobs go on without us.")
    else:
        screen.say(_verdict(played, whole=whole))
    if as_json:
        figures = [stage.figures() for stage in played]
        document = {"kept_everything": whole, "interrupted": interrupted, "acts": figures}
        print(json.dumps(document, indent=2))
    return INTERRUPTED if interrupted else KEPT if whole else LOST


def _verdict(stages: Sequence[Stage], *, whole: bool) -> str:
    promised = sum(stage.ledger.promised for stage in stages)
    if whole:
        return f"Nothing was lost: all {promised} accepted photos are done, and every client saw its answer."
    done = sum(stage.ledger.done for stage in stages)
    unseen = sum(stage.ledger.unseen.total() for stage in stages)
    reasons = sum((stage.ledger.unseen + stage.ledger.failed for stage in stages), start=Counter[str]())
    shown = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
    return f"Not all was kept: {done} of {promised} photos done, {unseen} answers not seen. {shown}".rstrip()


async def _reachable(targets: Sequence[Target]) -> Target:
    """The first address where a Spillway answers. Raises BadTarget."""
    reason = ""
    for target in targets:
        try:
            await stats(target)
        except Unseen as error:
            reason = reason or str(error)
        else:
            return target
    raise BadTarget(f"no server answers at http://{targets[0].authority}: {reason}")


def _opening(target: Target, size: int) -> str:
    where = f"http://{target.authority}, with a photo of {size / 1e6:.1f} MB"
    if target.has_crowd:
        return f"A stampede at {where}. Ctrl+C ends it."
    return (
        f"A stampede at {where}. This machine has one address to come from: every crowd is one client to the "
        "server, and sees 429 where many would see 503. Ctrl+C ends it."
    )


async def _draw(screen: Screen) -> None:
    while True:
        screen.draw()
        await asyncio.sleep(_FRAME_S)


def _allow_files() -> None:
    """Have room for a crowd's connections, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
