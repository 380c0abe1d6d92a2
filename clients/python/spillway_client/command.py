"""`spillway put`: uploads files and folders, with a progress bar where a terminal shows it."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from spillway_client.asynchronous import AsyncClient
from spillway_client.flows import Upload
from spillway_client.photos import Photo, photos_in
from spillway_client.synchronous import Result


@dataclass(frozen=True, slots=True)
class Put:
    """What to upload, where to and how. `variants` are the names of those to be made, all if empty."""

    url: str
    paths: Sequence[Path]
    variants: Sequence[str]
    concurrency: int
    ticket: str | None
    patience_s: float
    as_json: bool


def put(asked: Put) -> int:
    """Upload everything that is asked for; 0 if all of it is done, else 1.

    Standard output gets a line for each photo that is done: its name and the address of its largest variant,
    or its whole document as JSON. Standard error gets the others, each with its reason.
    """
    try:
        photos = list(photos_in(*asked.paths))
    except OSError as error:
        print(f"spillway: {error}", file=sys.stderr)
        return 1
    if not photos:
        print("spillway: there is no image in what was named", file=sys.stderr)
        return 1
    return asyncio.run(_put(asked, photos))


async def _put(asked: Put, photos: Sequence[Photo]) -> int:
    console = Console(stderr=True)
    failures = 0
    with _progress(console) as progress:
        bar = _Bar(progress, photos)
        async with AsyncClient(asked.url, ticket=asked.ticket, patience_s=asked.patience_s) as client:
            uploads = bar.uploads(asked.variants)
            async for result in client.upload_all(uploads, concurrency=asked.concurrency):
                bar.advance()
                failures += result.error is not None
                _tell(result, asked, progress.console)
    return 1 if failures else 0


def _tell(result: Result, asked: Put, console: Console) -> None:
    if result.image is None:
        console.print(f"{result.photo.name}: {result.error}", markup=False, highlight=False, style="red")
    elif asked.as_json:
        print(json.dumps(result.image.document), flush=True)
    else:
        largest = max(result.image.variants.values(), key=lambda each: each.width * each.height)
        url = largest.url if "://" in largest.url else asked.url.rstrip("/") + largest.url
        print(f"{result.photo.name}\t{url}", flush=True)


class _Bar:
    """The photos done of all, and the bytes handed to the network."""

    def __init__(self, progress: Progress, photos: Sequence[Photo]) -> None:
        self._progress = progress
        self._photos = photos
        self._sent: dict[int, int] = {}
        self._done = 0
        self._task = progress.add_task(self._text(), total=sum(map(_size, photos)))

    def uploads(self, variants: Sequence[str]) -> Iterator[Upload]:
        """An upload for each photo, which tells this bar how far it is."""
        for number, photo in enumerate(self._photos):
            yield Upload(photo, variants, progress=partial(self._note, number))

    def _note(self, number: int, sent: int, _size: int) -> None:
        self._sent[number] = sent
        self._progress.update(self._task, completed=sum(self._sent.values()))

    def advance(self) -> None:
        """Count one more photo as ended."""
        self._done += 1
        self._progress.update(self._task, description=self._text())

    def _text(self) -> str:
        return f"{self._done} of {len(self._photos)} photos"


def _size(photo: Photo) -> int:
    try:
        return photo.size
    except OSError:  # it is gone since it was listed, which its upload will tell
        return 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
