"""The client that uses the service as it is meant to be used while others attack it."""

import multiprocessing
import threading
import time
import uuid
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

import httpx

from tests import samples

PHOTO = samples.jpeg(1200, 900)
_PAUSE_S = 0.1
_LOOK_INTERVAL_S = 0.05
_RETRY_INTERVAL_S = 0.5
_PATIENCE_S = 30.0


@dataclass(slots=True)
class Served:
    """What the client saw.

    Seconds of each upload until its photo was done, from the first attempt on; of each read of a variant; of
    each look at /healthz. How often it was refused and asked again. What went wrong.
    """

    uploads: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    refused: int = 0
    failed: list[str] = field(default_factory=list)


class HonestClient:
    """A process that uploads a photo, reads a variant and repeats the upload, and begins again.

    Beside that it asks for /healthz twenty times a second. A refused upload is sent again every half second,
    however long the client was told to wait, for half a minute.
    """

    def __init__(self, url: str) -> None:
        """Start the process. Returns when it has been served once."""
        family = multiprocessing.get_context("spawn")
        begun = family.Event()
        self._over, self._results = family.Event(), family.Queue()
        arguments = (url, begun, self._over, self._results)
        self._process = family.Process(target=_be_honest, args=arguments, daemon=True)
        self._process.start()
        assert begun.wait(60), "the honest client could not upload a photo before the attack"

    def finish(self) -> Served:
        """End the process. Returns what it saw since it was started."""
        self._over.set()
        served: Served = self._results.get(timeout=_PATIENCE_S * 4)
        self._process.join()
        return served


def _client(url: str, address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=url, transport=transport, timeout=_PATIENCE_S)


def _be_honest(url: str, begun: Event, over: Event, results: "Queue[Served]") -> None:
    with _client(url, "127.9.9.9") as client:
        _upload_and_read(client, Served())  # which only shows that the client is ready
        begun.set()
        served = Served()
        looking = threading.Thread(target=_look, args=(url, over, served))
        looking.start()
        while not over.is_set():
            try:
                _upload_and_read(client, served)
            except (httpx.HTTPError, KeyError) as error:
                served.failed.append(repr(error))
            over.wait(_PAUSE_S)
        looking.join()
    results.put(served)


def _look(url: str, over: Event, served: Served) -> None:
    with _client(url, "127.9.9.8") as client:
        while not over.is_set():
            began = time.monotonic()
            try:
                client.get("/healthz")
            except httpx.HTTPError as error:
                served.failed.append(f"/healthz: {error!r}")
            served.health.append(time.monotonic() - began)
            over.wait(_LOOK_INTERVAL_S)


def _upload_and_read(client: httpx.Client, served: Served) -> None:
    key = str(uuid.uuid4())
    began = time.monotonic()
    made = _upload(client, key, served)
    if made.status_code != 201:
        served.failed.append(f"{made.status_code} {made.text}")
        return
    done = time.monotonic()
    served.uploads.append(done - began)
    answer = client.get(made.json()["variants"]["thumb"]["url"])
    if answer.status_code != 200:
        served.failed.append(f"{answer.status_code} {answer.text}")
    served.reads.append(time.monotonic() - done)
    repeated = _upload(client, key, served)
    if repeated.status_code != 201 or repeated.json()["id"] != made.json()["id"]:
        served.failed.append(f"repeated: {repeated.status_code} {repeated.text}")


def _upload(client: httpx.Client, key: str, served: Served) -> httpx.Response:
    """Upload the photo, and ask again while it is refused."""
    fields = {"content-type": "image/jpeg", "prefer": "wait=20", "idempotency-key": key}
    end = time.monotonic() + _PATIENCE_S
    while True:
        answer = client.post("/v1/images?variants=thumb", content=PHOTO, headers=fields)
        if answer.status_code not in (429, 503) or time.monotonic() > end:
            return answer
        served.refused += 1
        time.sleep(_RETRY_INTERVAL_S)
