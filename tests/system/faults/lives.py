"""A service that is killed at chosen steps, and a client that remembers what it was answered."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from app.job import Job
from tests import samples
from tests.service import PATIENCE, Service, environment, until

MORTAL = str(Path(__file__).with_name("mortal.py"))
CLIENT = "127.0.0.9"
SETTINGS = {
    "port": 0,
    "workers": 1,
    "rate": 10_000,
    "burst": 10_000,
    "client_share": 100,
    "variants": "big=48,tiny=16",
    "keep_original": "true",
    # A brownout begins when two jobs wait, and ends when none does.
    "brownout_high": 0.02,
    "brownout_low": 0.0,
}
SMALL = samples.jpeg(64, 48, thumbnail=samples.jpeg(32, 24))
"""Its thumbnail stands in for the variant tiny in a brownout."""
LARGE = SMALL + bytes(600_000)
BROKEN = SMALL[:300]


class Died(Exception):
    """Raised when the service died before it was ready, with its exit status."""


class Life(Service):
    """A service that runs many times, one run after the other, in the same folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """Load the service in `folder`, with further settings; it does not run yet."""
        self.folder = folder
        self.store = folder / "data"
        self._stderr = folder / "stderr"
        with self._stderr.open("ab") as errors:
            self.process = subprocess.Popen(  # type: ignore[assignment]
                [sys.executable, MORTAL],
                cwd=folder,
                env=environment(**SETTINGS, **settings) | {"PYTHONPATH": str(Path.cwd())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def begin(self, last: str = "") -> None:
        """Run until the step `last`. Raises Died."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{last}\n")
        self.process.stdin.flush()
        self.pid = int(self._line().removeprefix("pid "))
        line = self._line()
        if line.startswith("ended"):
            raise Died(int(line.removeprefix("ended ")))
        self.url = "http://" + line.split("http://")[1].split()[0]
        self.host, port = self.url.removeprefix("http://").split(":")
        self.port = int(port)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait. Returns the exit status, which may be that of an earlier death."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return self.status()

    def status(self) -> int:
        """Wait until the run has ended. Returns its exit status."""
        line = self._line()
        assert line.startswith("ended "), line
        return int(line.removeprefix("ended "))

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = str(self.process.stdout.readline())
        assert line, self.errors()
        return line.strip()

    def close(self) -> None:
        """End the process that starts the runs."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0, self.errors()
        assert "Traceback" not in self.errors(), self.errors()

    def passed(self) -> list[str]:
        """Every step that any run passed, in the order of its first appearance."""
        return list(dict.fromkeys((self.folder / "passed").read_text().splitlines()))


@contextmanager
def lives(folder: Path, **settings: object) -> Iterator[Life]:
    """Load a service in `folder` that can be killed at chosen steps."""
    folder.mkdir(exist_ok=True)
    life = Life(folder, **settings)
    try:
        yield life
        life.close()
    finally:
        life.process.kill()
        life.process.wait()
        if hasattr(life, "pid"):
            with suppress(ProcessLookupError):
                os.kill(life.pid, signal.SIGKILL)
        for pipe in (life.process.stdin, life.process.stdout):
            assert pipe is not None
            pipe.close()


class Witness:
    """A client that uploads and deletes, and checks that what was acknowledged is there."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()
        """Jobs whose deletion was asked for, answered or not."""
        self.partial: set[str] = set()
        """Jobs whose uploads asked for one variant."""
        self.completed: set[str] = set()
        """Those of which the others were then asked for, and promised."""
        self.unanswered: dict[str, tuple[bytes, str]] = {}
        """Uploads without an answer, by key; they are sent again."""
        self._open: set[str] = set()
        self._ended: dict[str, str] = {}
        self._numbers = 0

    def act(self, service: Service) -> None:
        """Do everything once. Raises httpx.TransportError when the service dies meanwhile."""
        with service.client(CLIENT) as client:
            self._ask_again(client)
            with _halted(service):
                for data in (SMALL, LARGE, SMALL, BROKEN):
                    self._upload(client, data)
                victim = self._upload(client, SMALL)
            self._delete(client, victim)
            self._upload(client, SMALL, prefer="wait=20")
            self._delete(client, self._upload(client, SMALL, prefer="wait=20"))
            self._complete(client)
            self._await_all(client)

    def _await_all(self, client: httpx.Client) -> None:
        for job_id in self._open - self.deleted:
            until(lambda: self._is_over(client, job_id), "a job to end")  # noqa: B023

    def _is_over(self, client: httpx.Client, job_id: str) -> bool:
        answer = client.get(f"/v1/images/{job_id}", headers={"prefer": "wait=5"})
        is_gone = answer.status_code == 404 and job_id in self.unsure
        if not is_gone and (answer.json()["finished_at"] is None or answer.json()["deferred"]):
            return False
        self._open.discard(job_id)
        return True

    def _ask_again(self, client: httpx.Client) -> None:
        """Send each upload that was not answered again, under its key."""
        for key, (data, query) in list(self.unanswered.items()):
            self._upload(client, data, key, query)

    def _upload(
        self, client: httpx.Client, data: bytes, key: str = "", query: str = "", **headers: str
    ) -> Any:
        self._numbers += 1
        key = key or f'"{self._numbers}"'
        self.unanswered[key] = data, query
        fields = {"content-type": "image/jpeg", "idempotency-key": key, **headers}
        answer = client.post(f"/v1/images{query}", content=data, headers=fields)
        assert answer.status_code in (201, 202, 422), answer.text
        document = answer.json().get("job", answer.json())
        assert document["id"] not in self.jobs, "one job for two uploads"
        self.jobs[document["id"]] = document
        self._open.add(document["id"])
        self.partial |= {document["id"]} if query else set()
        del self.unanswered[key]
        return document

    def _complete(self, client: httpx.Client) -> None:
        """Have one variant made of a photo, and the others of its original afterwards."""
        document = self._upload(client, SMALL, query="?variants=tiny", prefer="wait=20")
        fields = {"authorization": f"Bearer {document['delete_token']}"}
        answer = client.post(f"{document['links']['self']}/variants", headers=fields)
        assert answer.status_code == 202, answer.text
        self.completed.add(document["id"])
        self._open.add(document["id"])

    def _delete(self, client: httpx.Client, document: Any) -> None:
        self.unsure.add(document["id"])
        fields = {"authorization": f"Bearer {document['delete_token']}"}
        answer = client.delete(document["links"]["self"], headers=fields)
        assert answer.status_code == 204, answer.text
        self.deleted.add(document["id"])

    # --- what must be true -----------------------------------------------------------------------------

    def check_store(self, store: Path) -> None:
        """After the service has died: all acknowledged jobs are in the store, and all files are whole."""
        there = {folder.name: folder for folder in (store / "images").glob("*/*")}
        assert not (self.jobs.keys() - self.unsure) - there.keys(), "an acknowledged job is lost"
        assert not self.deleted & there.keys(), "a deleted job is back"
        for folder in there.values():
            job = Job.from_record((folder / "job.json").read_bytes())
            assert job.id == folder.name
            kept = [file.stat().st_size for file in folder.iterdir() if file.name in ("source", "original")]
            assert kept == [job.size] if job.keeps_original or not job.is_final else kept in ([], [job.size])
            assert job.is_final or (folder / "source").exists()
            for variant in job.made.values():
                data = (folder / variant.file).read_bytes()
                assert hashlib.sha256(data).hexdigest() == variant.digest

    def check_service(self, service: Service) -> None:
        """While the service runs: each job ends as it should, and nothing else is in the store."""
        with service.client(CLIENT) as client:
            self._ask_again(client)
            self._await_all(client)
            stats = service.settled()
            for job_id in self.jobs.keys() - self.deleted:
                self._look(client, job_id)
            for job_id in self.deleted:
                assert client.get(f"/v1/images/{job_id}").status_code == 404
        files = [service.store / name for name in service.stored()]
        assert not [path for path in files if "provisional" in path.name]
        assert not [path for path in files if "images" not in path.parts]
        assert {path.parent.name for path in files} <= self.jobs.keys(), "a job that nobody asked for"
        assert not [path for path in files if path.name == "source"]
        assert stats["store_bytes"] == sum(path.stat().st_size for path in files if path.name != "job.json")

    def _look(self, client: httpx.Client, job_id: str) -> None:
        answer = client.get(f"/v1/images/{job_id}")
        if answer.status_code == 404 and job_id in self.unsure:
            return
        document = answer.json()
        ended = document["completed_at"]
        assert self._ended.setdefault(job_id, ended) == ended, "done twice"
        if document["status"] == "failed":
            assert document["problem"]["type"] == "/problems/undecodable"
            return
        assert document["status"] == "done", document
        assert document["deferred"] == []
        made = set(document["variants"])
        assert made == {"big", "tiny"} or (made == {"tiny"} and job_id in self.partial - self.completed)
        for variant in document["variants"].values():
            assert "provisional" not in variant
            image = client.get(variant["url"])
            assert image.status_code == 200
            assert f'"{hashlib.sha256(image.content).hexdigest()}"' == image.headers["etag"]


@contextmanager
def _halted(service: Service) -> Iterator[None]:
    """Stop the workers for the length of the block, so that jobs wait."""
    pids = service.workers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def live(life: Life, witness: Witness, last: str = "") -> int:
    """Run once with a client until the end. Returns the exit status: -9 if it was killed at step `last`."""
    try:
        life.begin(last)
        witness.act(life)
    except Died as death:
        return int(death.args[0])
    except httpx.TransportError:
        return life.status()
    return life.end()


def steps(folder: Path) -> list[str]:
    """The steps of two undisturbed runs: the first with an empty store, the second with a full one."""
    witness = Witness()
    with lives(folder) as life:
        for _ in range(2):
            assert live(life, witness) == 0, life.errors()
        return life.passed()
