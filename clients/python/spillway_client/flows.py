"""What is sent, and what is done with each answer, apart from how bytes travel.

Each flow is a generator. It yields a `Send`, and gets the answer or the transport's exception, or a `Pause`,
and is resumed when that is over. `Client` drives it with blocking calls and `AsyncClient` with asyncio, so
that both behave alike.
"""

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from spillway_client.errors import GaveUp, Gone, JobFailed, Refused
from spillway_client.images import Image
from spillway_client.pacing import Pacer
from spillway_client.photos import Photo, Progress

T = TypeVar("T")

MAX_HOLD_S = 20
"""Longest time that one request waits for a job; then it is asked again."""
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 15.0
"""Pauses after failures of the network or of a gateway: each is twice the one before."""
_KEY_IN_USE = 409
_GATEWAY = (502, 504)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request. With a photo, it is a form with the photo as its file."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    photo: Photo | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds. `problem` is what the service said, if it was a refusal that caused this."""

    seconds: float
    problem: dict[str, Any] | None = None


Flow = Generator[Send | Pause, httpx.Response | None, T]


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload: the photo, and what is asked of the service.

    `variants` are the names of those to be made, all if empty. `reference` is given back in the document.
    `progress` is told how much was sent, `refused` each problem after which the upload is sent again.
    `key` is the Idempotency-Key, by which the service recognises the upload when it is sent again.
    """

    photo: Photo
    variants: Sequence[str] = ()
    reference: str | None = None
    progress: Progress | None = None
    refused: Callable[[dict[str, Any]], None] | None = None
    key: str = field(default_factory=lambda: secrets.token_hex(16))


class Flows:
    """The flows of one client, which waits for at most `patience_s` seconds without any success."""

    def __init__(
        self,
        patience_s: float,
        ticket: str | Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ticket` is one (a JWT) or a function that gets a fresh one, if the service asks for tickets."""
        self._patience_s = patience_s
        self._ticket = ticket
        self._clock = clock
        self._pacer = Pacer(clock)

    def upload(self, upload: Upload) -> Flow[Image]:
        """Send a photo until the service has taken it.

        Raises:
            Refused: the service will never take it.
            GaveUp: it took nothing for longer than the client's patience.
            OSError: the file cannot be read.
        """
        params = {}
        if upload.variants:
            params["variants"] = ",".join(upload.variants)
        if upload.reference is not None:
            params["reference"] = upload.reference
        headers = {"Idempotency-Key": f'"{upload.key}"', "Accept": "application/json"}
        yield Pause(self._pacer.reserve())

        def send() -> Send:
            ticket = self._ticket() if callable(self._ticket) else self._ticket
            authorization = {} if ticket is None else {"Authorization": f"Bearer {ticket}"}
            return Send("POST", "/v1/images", headers | authorization, params, upload.photo, upload.progress)

        answer = yield from self._until_taken(send, upload.refused)
        return Image.from_document(answer.json())

    def wait(self, image: Image) -> Flow[Image]:
        """Wait until an image is done.

        Raises:
            JobFailed: its variants could not be made.
            Gone: it was removed, or has expired.
            GaveUp: the service did not answer for longer than the client's patience.
        """
        look = Send("GET", f"/v1/images/{image.id}", {"Prefer": f"wait={MAX_HOLD_S}"})
        while not image.is_decided:
            answer = yield from self._until_taken(lambda: look, None)
            image = Image.from_document(answer.json(), image.delete_token)
        if image.status == "failed":
            raise JobFailed(image.document.get("problem") or {})
        if image.status == "cancelled":
            raise Gone(404, {"detail": "The image was removed."})
        return image

    def find(self, image_id: str) -> Flow[Image]:
        """Look an image up by its id. Raises Gone if there is none."""
        answer = yield from self._until_taken(lambda: Send("GET", f"/v1/images/{image_id}"), None)
        return Image.from_document(answer.json())

    def delete(self, image: Image) -> Flow[None]:
        """Remove an image with all its files; one that is gone already is no error.

        Raises:
            ValueError: its delete token is not known.
            Refused: it is another image's token.
        """
        if image.delete_token is None:
            raise ValueError("the delete token of this image is not known")
        headers = {"Authorization": f"Bearer {image.delete_token}"}
        try:
            yield from self._until_taken(lambda: Send("DELETE", f"/v1/images/{image.id}", headers), None)
        except Gone:
            return

    def _until_taken(
        self, send: Callable[[], Send], refused: Callable[[dict[str, Any]], None] | None
    ) -> Flow[httpx.Response]:
        """Send a request again for as long as it may still succeed; the answer that is a success."""
        gives_up_at = self._clock() + self._patience_s
        backoff_s = _FIRST_BACKOFF_S
        while True:
            problem: dict[str, Any] = {}
            try:
                answer = yield send()
            except httpx.TransportError as error:
                reason, wait_s = f"{type(error).__name__}: {error}", None
            else:
                assert answer is not None  # noqa: S101 - the driver answers each `Send`
                self._pacer.learn(answer)
                if answer.is_success:
                    return answer
                problem = problem_of(answer)
                reason = str(problem.get("detail") or answer.status_code)
                wait_s = retry_after_s(answer)
                if wait_s is None and answer.status_code not in (_KEY_IN_USE, *_GATEWAY):
                    raise refusal(answer.status_code, problem)
                if refused is not None:
                    refused(problem)
            if wait_s is None:
                wait_s, backoff_s = backoff_s, min(2 * backoff_s, _MAX_BACKOFF_S)
            elif problem.get("guard") == "rate":
                wait_s = max(wait_s, self._pacer.reserve())
            if self._clock() + wait_s > gives_up_at:
                raise GaveUp(f"given up after {self._patience_s:.0f} s: {reason}")
            yield Pause(wait_s, problem or None)


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of an answer, empty if it has none."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def refusal(status: int, problem: dict[str, Any]) -> Refused:
    """The exception of a final refusal."""
    return Gone(status, problem) if status == 404 else Refused(status, problem)


def retry_after_s(answer: httpx.Response) -> float | None:
    """The seconds after which the service wants to be asked again; None if it does not say.

    A place in the queue is reserved for the moment that the field tells. `retry_after_ms` of the problem is a
    little earlier, and coming early gains nothing.
    """
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
