"""Runs the acts one after another, prints the table, and tells by the exit status if anything was lost."""

import asyncio
import json
import os
import resource
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from app.stampede.acts import ACTS, Act, ActRun, Pressure, fetch_tokens_per_s, run_act
from app.stampede.http_client import NoAnswer
from app.stampede.photos import make_photo, size_for
from app.stampede.screen import Screen
from app.stampede.server_stats import NoSpillway, fetch_stats
from app.stampede.target import BadTarget, Target, resolve
from app.stampede.together import Group

_DRAW_INTERVAL_S = 0.25
_MAX_OPEN_FILES = 4096
_NICENESS = 5
"""How far this process stands back for the server, with which it may share the cores."""
KEPT, LOST, INTERRUPTED = 0, 1, 130
"""Exit statuses: nothing was lost, something was lost, or a signal ended it (128 + SIGINT)."""


def run(
    url: str,
    names: Sequence[str],
    pressure: Pressure,
    photo: Path | None,
    *,
    as_json: bool,
    together: Path | None = None,
) -> int:
    """Run the acts of these names (all if there are none) against the server at `url`; the exit status.

    Figures and table go to standard output. With `as_json` they go to standard error, and the table as JSON
    to standard output. Of all stampedes that run `together`, in a folder that they share, one prints for all.

    Raises:
        BadTarget: the URL cannot be used, its host is public, or no Spillway answers there.
        OSError: the photo cannot be read, or the folder not be used.
    """
    targets = resolve(url)
    acts = [act for act in ACTS if not names or act.name in names]
    group = None if together is None else Group.join(together)
    is_silent = group is not None and not group.is_leader
    screen = Screen(Console(stderr=as_json, soft_wrap=False, quiet=is_silent), is_alone=group is None)
    data = None if photo is None else photo.read_bytes()
    _allow_files()
    os.nice(_NICENESS)
    runs, interrupted = asyncio.run(_run(targets, acts, pressure, data, screen))
    if group is not None:
        _share(group, runs, screen)
    return _conclude(screen, runs, len(acts), interrupted=interrupted, as_json=as_json and not is_silent)


async def _run(
    targets: Sequence[Target], acts: Sequence[Act], pressure: Pressure, photo: bytes | None, screen: Screen
) -> tuple[list[ActRun], bool]:
    """Run the acts; those that were begun, and whether a signal ended them."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    runs: list[ActRun] = []
    interrupted = False
    try:
        target = await _reachable(targets)
        tokens_per_s = await fetch_tokens_per_s(target)
        if photo is None:
            size = size_for(len((await fetch_stats(target))["workers"]))
            screen.print_line(f"Making a photo of {size[0] * size[1] / 1e6:.0f} megapixels …")
            photo = await asyncio.to_thread(make_photo, size)
        screen.print_line(_opening(target, len(photo)))
        for number, act in enumerate(acts, 1):
            run = ActRun(act, target, pressure, target.sources(ACTS.index(act)), tokens_per_s)
            with screen.showing(run, number, len(acts)):
                runs.append(run)
                drawing = asyncio.create_task(_draw(screen))
                try:
                    await run_act(run, photo)
                finally:
                    drawing.cancel()
    except asyncio.CancelledError:
        interrupted = True
    except (NoAnswer, NoSpillway) as error:
        if not runs:
            raise BadTarget(str(error)) from None
        screen.print_line(f"The server is gone: {error}.")
    return runs, interrupted


def _share(group: Group, runs: Sequence[ActRun], screen: Screen) -> None:
    """Leave the figures of these runs for the leader of the group, or add those of the others to them."""
    if not group.is_leader:
        group.leave(json.dumps({run.act.name: run.to_plain() for run in runs}).encode())
        return
    others, without_figures = group.gather()
    for figures in map(json.loads, others):
        for run in runs:
            if run.act.name in figures:
                run.add_plain(figures[run.act.name])
    screen.print_line(f"The figures of {1 + len(others)} stampedes at the same time:")
    for run in runs:
        screen.print_line(f"{run.act.title}: {run.outcome()}")
    if without_figures:
        screen.print_line(f"{without_figures} more ended without figures.")


def _conclude(screen: Screen, runs: list[ActRun], acts: int, *, interrupted: bool, as_json: bool) -> int:
    """Print the table and the verdict on all `acts` that should have run; the exit status."""
    started = [run for run in runs if run.ledger.sent]
    kept_everything = len(started) == acts and all(run.ledger.kept_everything for run in started)
    if started:
        screen.print_table(started)
    if interrupted:
        screen.print_line("Interrupted: this is what came of it so far. Accepted jobs go on without us.")
    else:
        screen.print_line(_verdict(started, kept_everything=kept_everything))
    if as_json:
        figures = [run.figures() for run in started]
        document = {"kept_everything": kept_everything, "interrupted": interrupted, "acts": figures}
        print(json.dumps(document, indent=2))
    if interrupted:
        return INTERRUPTED
    return KEPT if kept_everything else LOST


def _verdict(runs: Sequence[ActRun], *, kept_everything: bool) -> str:
    promised = sum(run.ledger.promised for run in runs)
    if kept_everything:
        return f"Nothing was lost: all {promised} accepted photos are done, and every client saw its answer."
    done = sum(run.ledger.done for run in runs)
    unanswered = sum(run.ledger.unanswered.total() for run in runs)
    reasons = sum((run.ledger.unanswered + run.ledger.failed for run in runs), start=Counter[str]())
    shown = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
    return (
        f"Not all was kept: {done} of {promised} photos done, {unanswered} answers not seen. {shown}".rstrip()
    )


async def _reachable(targets: Sequence[Target]) -> Target:
    """The first of these addresses at which a Spillway answers; raises BadTarget if none does."""
    reason = ""
    for target in targets:
        try:
            await fetch_stats(target)
        except NoAnswer as error:
            reason = reason or str(error)
        else:
            return target
    raise BadTarget(f"no server answers at http://{targets[0].authority}: {reason}")


def _opening(target: Target, size: int) -> str:
    where = f"http://{target.authority}, with a photo of {size / 1e6:.1f} MB"
    if target.has_many_addresses:
        return f"A stampede at {where}. Ctrl+C ends it."
    return (
        f"A stampede at {where}. This machine has one address to come from: every crowd is one client to the "
        "server, and sees 429 where many would see 503. Ctrl+C ends it."
    )


async def _draw(screen: Screen) -> None:
    while True:
        screen.draw()
        await asyncio.sleep(_DRAW_INTERVAL_S)


def _allow_files() -> None:
    """Raise the limit of open files for the connections of a crowd, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
