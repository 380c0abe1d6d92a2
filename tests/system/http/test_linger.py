"""A refused client sees its refusal even if it sends its whole body before it reads."""

import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.service import Answer, Service, fresh_address
from tests.system.http.expect import QUOTA_EXCEEDED, problem
from tests.system.http.test_refusals import exhaust, full_queue

TEN_MEGABYTES = bytes(10 * 10**6)


def send_all_then_read(service: Service, address: str | None = None, body: bytes = TEN_MEGABYTES) -> Answer:
    """The answer that a client sees which reads only after it has sent everything."""
    with service.connect(address) as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {len(body)}")
        connection.send(body)
        return connection.answer()


def test_a_hundred_at_once(tight: Service) -> None:
    """Of 100 clients that send 10 MB each before they read, all see their 429."""
    address = fresh_address()
    exhaust(tight, address)
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: send_all_then_read(tight, address), range(100)))
    for answer in answers:
        problem(answer, 429, QUOTA_EXCEEDED, guard="rate")


def test_a_full_queue(tight: Service) -> None:
    """The 503 of a full queue is seen too."""
    with full_queue(tight), ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send_all_then_read(tight), range(8)))
    assert [answer.status for answer in answers] == [503] * 8


def test_a_chunked_body(tight: Service) -> None:
    """A refused body of unknown length is discarded too."""
    address = fresh_address()
    exhaust(tight, address)
    with tight.connect(address) as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", "Transfer-Encoding: chunked")
        for _ in range(40):
            connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        connection.send(b"0\r\n\r\n")
        problem(connection.answer(), 429, QUOTA_EXCEEDED, guard="rate")


def test_a_refusal_in_the_middle(service: Service) -> None:
    """A client that goes on sending sees that its body was refused for not being an image."""
    with service.connect() as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {2**20}")
        connection.send(b"no image".ljust(2**20))
        problem(connection.answer(), 415, "unsupported-media-type")


def test_bounded_in_bytes(service: Service) -> None:
    """Of an endless body hardly more than MAX_UPLOAD_BYTES is read before the connection ends."""
    sent = 0
    with service.connect() as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {10**12}")
        try:
            while sent < 10**9:
                sent += connection.socket.send(bytes(65_536))
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 32 * 2**20  # 1 MiB, and what the buffers of the sockets hold


class TestClients:
    """Common HTTP clients see every refusal of a large body."""

    def test_httpx(self, tight: Service) -> None:
        """httpx sees the 429."""
        address = fresh_address()
        exhaust(tight, address)
        for _ in range(10):
            answer = tight.upload(TEN_MEGABYTES, address=address)
            problem(answer, 429, QUOTA_EXCEEDED, guard="rate")

    def test_urllib(self, tight: Service) -> None:
        """The standard library, which sends everything before it reads, sees the 429."""
        exhaust(tight, "127.0.0.1")
        request = urllib.request.Request(  # noqa: S310 - http, to our own server
            f"{tight.url}/v1/images", data=TEN_MEGABYTES, headers={"Content-Type": "image/jpeg"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(10):
            with pytest.raises(urllib.error.HTTPError) as raised:
                opener.open(request, timeout=20)
            with raised.value as error:
                assert error.code == 429
                assert error.headers["Retry-After"]
                assert error.read().startswith(b"{")

    def test_a_file_far_too_large(self, service: Service) -> None:
        """A file of 90 MB where 1 MiB is taken: the standard library sees the 413 of its declared length."""
        request = urllib.request.Request(  # noqa: S310 - http, to our own server
            f"{service.url}/v1/images", data=bytes(90 * 10**6), headers={"Content-Type": "image/jpeg"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as raised:
            opener.open(request, timeout=60)
        with raised.value as error:
            assert (error.code, error.headers["Upload-Limit"]) == (413, f"max-size={2**20}")

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    @pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
    def test_curl(self, tight: Service, tmp_path: Path, expect: str) -> None:
        """curl sees the 429 with and without Expect; with it, curl sends nothing of its file."""
        address = fresh_address()
        exhaust(tight, address)
        file = tmp_path / "large.jpg"
        file.write_bytes(TEN_MEGABYTES)
        for _ in range(5):
            command = ["curl", "-sS", "--noproxy", "*", "--interface", address, "-H", expect]
            command += [
                "-F",
                f"file=@{file}",
                "-w",
                "\n%{http_code} %{size_upload}",
                f"{tight.url}/v1/images",
            ]
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            status, uploaded = done.stdout.splitlines()[-1].split()
            assert status == "429"
            if expect != "Expect:":
                assert int(uploaded) == 0

    def test_a_reset_is_no_harm(self, tight: Service) -> None:
        """A refused client that resets its connection leaves no trace in the log."""
        address = fresh_address()
        exhaust(tight, address)
        connection = tight.connect(address)
        connection.head("POST /v1/images", "Content-Type: image/jpeg", "Content-Length: 9999999")
        connection.send(bytes(100_000))
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        assert tight.stats()["backlog"]["receiving"] == 0
