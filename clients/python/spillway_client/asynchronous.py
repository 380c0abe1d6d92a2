"""The client for programs that use asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import httpx

from spillway_client import transport
from spillway_client.errors import SpillwayError
from spillway_client.flows import Flow, Flows, Pause, Send, Upload, problem_of, refusal
from spillway_client.images import Image
from spillway_client.photos import Photo, Progress
from spillway_client.synchronous import Result

T = TypeVar("T")


class AsyncClient:
    """Uploads images to a Spillway service and gets their variants, as `Client` does, for one event loop."""

    def __init__(
        self,
        url: str,
        *,
        ticket: str | Callable[[], str] | None = None,
        patience_s: float = 600,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`url` is the address of the service, such as `https://www.example/photos`.

        `ticket` is needed where the service asks for tickets: one, or a function that gets a fresh one.
        `patience_s` bounds how long one call waits for a service that is full or away. `http` replaces the
        transport (for proxies, certificates, tests); the client closes it.
        """
        self._http = http or httpx.AsyncClient(timeout=transport.TIMEOUT)
        self._http.base_url = httpx.URL(transport.base_url(url))
        self._flows = Flows(patience_s, ticket)

    async def upload(
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
        return await self.send(Upload(Photo.of(photo), variants, reference, progress), wait=wait)

    async def send(self, upload: Upload, *, wait: bool = True) -> Image:
        """Send an upload whose details were set before. Raises what `upload` raises."""
        image = await self._run(self._flows.upload(upload))
        return await self._run(self._flows.wait(image)) if wait else image

    async def upload_all(self, uploads: Iterable[Upload], *, concurrency: int = 4) -> AsyncIterator[Result]:
        """Send many uploads, at most `concurrency` of them at once; the results as they come.

        One that fails does not end the others. When the caller stops early, those under way are cancelled.
        """
        pending: set[asyncio.Task[Result]] = set()
        try:
            for upload in uploads:
                if len(pending) >= concurrency:
                    ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for each in ended:
                        yield each.result()
                pending.add(asyncio.create_task(self._result(upload)))
            while pending:
                ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for each in ended:
                    yield each.result()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _result(self, upload: Upload) -> Result:
        try:
            return Result(upload.photo, await self.send(upload))
        except (SpillwayError, OSError) as error:
            return Result(upload.photo, error=error)

    async def wait(self, image: Image) -> Image:
        """Wait until an image is done. Raises JobFailed, Gone or GaveUp."""
        return await self._run(self._flows.wait(image))

    async def find(self, image_id: str) -> Image:
        """Look an image up by its id. Raises Gone if there is none."""
        return await self._run(self._flows.find(image_id))

    async def delete(self, image: Image) -> None:
        """Remove an image that this client uploaded. Raises ValueError if its delete token is not known."""
        await self._run(self._flows.delete(image))

    async def download(self, image: Image, variant: str) -> bytes:
        """The bytes of one variant.

        Raises:
            KeyError: the image has no such variant yet.
            Refused, httpx.TransportError: it could not be read.
        """
        url = f"v1/images/{image.id}/{image.variants[variant].name}"
        answer = await self._http.get(url, follow_redirects=True)
        if not answer.is_success:
            raise refusal(answer.status_code, problem_of(answer))
        return answer.content

    async def _run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    answer = await self._request(step)
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _request(self, send: Send) -> httpx.Response:
        with transport.prepared(send) as arguments:
            return await self._http.request(**arguments)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
