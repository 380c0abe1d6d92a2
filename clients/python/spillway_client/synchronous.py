"""The client for programs without asyncio."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import httpx

from spillway_client import transport
from spillway_client.errors import SpillwayError
from spillway_client.flows import Flow, Flows, Pause, Send, Upload, problem_of, refusal
from spillway_client.images import Image
from spillway_client.photos import Photo, Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """How one of many uploads ended: with an image, or with an error."""

    photo: Photo
    image: Image | None = None
    error: SpillwayError | OSError | None = None


class Client:
    """Uploads images to a Spillway service and gets their variants. Several threads may use one client."""

    def __init__(
        self,
        url: str,
        *,
        ticket: str | Callable[[], str] | None = None,
        patience_s: float = 600,
        http: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`url` is the address of the service, such as `https://www.example/photos`.

        `ticket` is needed where the service asks for tickets: one, or a function that gets a fresh one.
        `patience_s` bounds how long one call waits for a service that is full or away. `http` replaces the
        transport (for proxies, certificates, tests); the client closes it.
        """
        self._http = http or httpx.Client(timeout=transport.TIMEOUT)
        self._http.base_url = httpx.URL(transport.base_url(url))
        self._flows = Flows(patience_s, ticket)
        self._sleep = sleep

    def upload(
        self,
        photo: str | Path | bytes | Photo,
        *,
        variants: Sequence[str] = (),
        reference: str | None = None,
        wait: bool = True,
        progress: Progress | None = None,
    ) -> Image:
        """Upload one image and, unless `wait` is false, wait until it is done.

        Raises:
            Refused, JobFailed, GaveUp, Gone, OSError: as `errors` describes them; OSError for the file.
        """
        return self.send(Upload(Photo.of(photo), variants, reference, progress), wait=wait)

    def send(self, upload: Upload, *, wait: bool = True) -> Image:
        """Send an upload whose details were set before. Raises what `upload` raises."""
        image = self._run(self._flows.upload(upload))
        return self._run(self._flows.wait(image)) if wait else image

    def upload_all(self, uploads: Iterable[Upload], *, concurrency: int = 4) -> Iterator[Result]:
        """Send many uploads, at most `concurrency` of them at once; the results as they come.

        One that fails does not end the others. When the caller stops early, uploads under way are finished
        and no others begin.
        """
        with ThreadPoolExecutor(concurrency, thread_name_prefix="upload") as threads:
            pending: set[Future[Result]] = set()
            for upload in uploads:
                if len(pending) >= concurrency:
                    ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in ended)
                pending.add(threads.submit(self._result, upload))
            while pending:
                ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in ended)

    def _result(self, upload: Upload) -> Result:
        try:
            return Result(upload.photo, self.send(upload))
        except (SpillwayError, OSError) as error:
            return Result(upload.photo, error=error)

    def wait(self, image: Image) -> Image:
        """Wait until an image is done. Raises JobFailed, Gone or GaveUp."""
        return self._run(self._flows.wait(image))

    def find(self, image_id: str) -> Image:
        """Look an image up by its id. Raises Gone if there is none."""
        return self._run(self._flows.find(image_id))

    def delete(self, image: Image) -> None:
        """Remove an image that this client uploaded. Raises ValueError if its delete token is not known."""
        self._run(self._flows.delete(image))

    def download(self, image: Image, variant: str, path: str | Path) -> int:
        """Write one variant to a file, which is there as a whole or not at all; its size in bytes.

        Raises:
            KeyError: the image has no such variant yet.
            Refused, OSError, httpx.TransportError: it could not be read or written.
        """
        part = Path(f"{path}.part")
        size = 0
        url = f"v1/images/{image.id}/{image.variants[variant].name}"
        with self._http.stream("GET", url, follow_redirects=True) as answer:
            if not answer.is_success:
                answer.read()
                raise refusal(answer.status_code, problem_of(answer))
            try:
                with part.open("wb") as file:
                    for piece in answer.iter_bytes():
                        size += file.write(piece)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        return size

    def _run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    self._sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    answer = self._request(step)
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _request(self, send: Send) -> httpx.Response:
        with transport.prepared(send) as arguments:
            return self._http.request(**arguments)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
