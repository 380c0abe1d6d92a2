"""Bodies that cost a reader much for each byte, sent by ten connections at once for some seconds."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

from tests.service import Service

_CONNECTIONS = 10
_SIZE = 8 * 2**20
_PHOTO = b"\xff\xd8\xff\xe0"
_PART = b"--XyZ\r\n"
_FILE = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
_NEAR = b"\r\n--Xy" * 10_000
_LONG_DISPOSITION = b"Content-Disposition: form-data" + b";a=b" * 1000  # within the 4 KiB that others allow
_FORM = "Content-Type: multipart/form-data; boundary=XyZ"
_RAW = "Content-Type: image/jpeg"


def _forever(piece: bytes, begin: bytes = b"") -> Iterator[bytes]:
    yield begin
    for _ in range(_SIZE // len(piece)):
        yield piece


def _chunks() -> Iterator[bytes]:
    """A chunked body in chunks of one byte."""
    return _forever(b"1\r\n\0\r\n" * 10_000, b"4\r\n" + _PHOTO + b"\r\n")


BODIES: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "tiny header fields": (_FORM, lambda: _forever((_PART + b"a:b\r\n" * 8 + b"\r\n\r\n") * 1000)),
    "1000 parameters": (_FORM, lambda: _forever((_PART + _LONG_DISPOSITION + b"\r\n\r\n\r\n") * 10)),
    "tiny parts": (_FORM, lambda: _forever((_PART + b"\r\n\r\n") * 10_000)),
    "near-boundaries": (_FORM, lambda: _forever(_NEAR, _PART + _FILE + _PHOTO)),
    "a long text field": (
        _FORM,
        lambda: _forever(bytes(60_000), _PART + b"Content-Disposition: form-data; name=a\r\n\r\n"),
    ),
    "one-byte chunks": (_RAW, _chunks),
    "one-byte segments": (_RAW, lambda: _forever(b"\0", _PHOTO)),
}
"""The Content-Type and the pieces of each body."""


def attack_with(name: str) -> Callable[[Service, float], str]:
    """An attack with one of these bodies."""

    def attack(service: Service, seconds: float) -> str:
        end = time.monotonic() + seconds
        sent = [0, 0]
        threads = [
            threading.Thread(target=_send, args=(service, f"127.77.0.{number + 1}", name, end, sent))
            for number in range(_CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return f"{sent[0]} bodies, {sent[1] / 2**20:.1f} MiB"

    return attack


def _send(service: Service, address: str, name: str, end: float, sent: list[int]) -> None:
    content_type, body = BODIES[name]
    length = "Transfer-Encoding: chunked" if "chunks" in name else f"Content-Length: {_SIZE}"
    head = f"POST /v1/images HTTP/1.1\r\nHost: a\r\n{content_type}\r\n{length}\r\n\r\n"
    while time.monotonic() < end:
        sent[0] += 1
        try:
            with socket.create_connection((service.host, service.port), 5, (address, 0)) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(head.encode())
                for piece in body():
                    if time.monotonic() > end:
                        return
                    client.sendall(piece)
                    sent[1] += len(piece)
                client.recv(1000)
        except OSError:
            continue
