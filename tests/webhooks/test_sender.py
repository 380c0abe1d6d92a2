"""Requests to a real receiver on loopback: what they are, what is read of answers, where they may go."""

import asyncio
import base64
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.webhooks import sender as module
from app.webhooks.delivery import Answer, SendFailed
from app.webhooks.sender import HttpSender, addresses_for
from tests.webhooks.receiver import OTHER_SECRET, SECRET, Receiver, receiving

pytestmark = pytest.mark.anyio
BODY = '{"type":"image.done"}'


@pytest.fixture
def anyio_backend() -> str:
    """Sockets need a loop in real time."""
    return "asyncio"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """One for all tests."""
    with receiving() as receiver:
        yield receiver


def resolving(*addresses: str) -> module.Resolve:
    """A resolver that knows one host, whatever its name."""

    async def find(_: str, __: int) -> Sequence[str]:
        return addresses

    return find


async def post(sender: HttpSender, event_id: str = "msg_1") -> Answer:
    """Post once."""
    try:
        return await sender.post(event_id, BODY)
    finally:
        await sender.close()


async def test_either_of_two_secrets_verifies_a_request_and_no_other(receiver: Receiver) -> None:
    """So that a receiver may go from the old one to the new one when it likes."""
    assert (await post(HttpSender(receiver.url, [SECRET, OTHER_SECRET]))).status == 204
    came = receiver.received[-1]
    assert came.headers["user-agent"].startswith("Spillway/")
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(came.body, came.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(bytes(32)).decode()).verify(came.body, came.headers)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0), ("soon", None), ("-1", None), ("²", None)],
)
async def test_retry_after_is_a_number_or_a_date(
    receiver: Receiver, said: str, seconds: float | None
) -> None:
    """Anything else is as if there were none."""
    receiver.replies = [(503, {"Retry-After": said.encode().decode("latin-1")})]
    assert await post(HttpSender(receiver.url, [SECRET], clock=lambda: 1000.0)) == Answer(503, seconds)


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """Its status is the answer, and nobody asks the other address."""
    with receiving() as other:
        receiver.replies = [(307, {"Location": other.url})]
        assert (await post(HttpSender(receiver.url, [SECRET]))).status == 307
        assert not other.received


async def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would connect to an address that nobody has checked."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await post(HttpSender(receiver.url, [SECRET]))).status == 204


async def test_a_name_is_connected_to_at_the_address_that_was_checked(receiver: Receiver) -> None:
    """The receiver sees the name; the next address is tried where nobody listens at the first."""
    url = f"http://user:secret@backend:{receiver.port}/hooks"
    await post(HttpSender(url, [SECRET], resolving("8.8.8.8", "127.9.9.9", "127.0.0.1")))
    assert receiver.received[-1].headers["host"] == f"backend:{receiver.port}"
    assert receiver.received[-1].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize("address", ["8.8.8.8", "169.254.169.254", "2001:db8::1", "::ffff:8.8.8.8"])
async def test_a_name_that_is_public_is_not_connected_to(receiver: Receiver, address: str) -> None:
    """It is looked up anew for each request, so it may have been private before."""
    with pytest.raises(SendFailed, match="not private"):
        await post(HttpSender(f"http://backend:{receiver.port}/", [SECRET], resolving(address)))
    assert await addresses_for(httpx.URL("https://backend/"), resolving(address)) == [address]


@contextmanager
def answering(*pieces: bytes, hold: float = 0) -> Iterator[str]:
    """A server that answers one request with these bytes, and then waits before it closes."""
    done = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                try:
                    for piece in pieces:
                        connection.sendall(piece)
                except OSError:
                    return
                done.wait(hold)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        done.set()
        thread.join()


async def test_little_is_read_of_a_body_and_nothing_is_waited_for() -> None:
    """The head decides: a body without end, and one that never comes, cost some kilobytes and a second."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(head, *([b"10000\r\n" + bytes(0x10000) + b"\r\n"] * 400)) as url:
        assert (await post(HttpSender(url, [SECRET]))).status == 200
    with answering(head, hold=30) as url:
        assert (await post(HttpSender(url, [SECRET]))).status == 200


@pytest.mark.parametrize(
    "pieces",
    [(b"SSH-2.0-OpenSSH\r\n",), (), (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,), (b"HTTP/1.1 99",)],
)
async def test_what_is_no_answer_is_a_failure(pieces: tuple[bytes, ...]) -> None:
    """Another protocol, an early end, an endless head."""
    with answering(*pieces) as url, pytest.raises(SendFailed):
        await post(HttpSender(url, [SECRET]))


async def test_a_receiver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 15 s in all, which a trickling head does not extend; here after less."""
    assert module._TIMEOUT_S == 15
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.3)
    with answering(b"HTTP/1.1 200 OK\r\n", hold=30) as url, pytest.raises(SendFailed, match="no answer"):
        await post(HttpSender(url, [SECRET]))


async def test_nobody_listening_and_a_bad_certificate_are_failures(receiver: Receiver) -> None:
    """The message says what is wrong."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SendFailed):
        await post(HttpSender(f"http://127.0.0.1:{port}/", [SECRET]))
    with pytest.raises(SendFailed, match=r"(?i)ssl"):
        await post(HttpSender(f"https://127.0.0.1:{receiver.port}/", [SECRET]))


async def test_connections_are_kept_and_requests_may_be_cancelled(receiver: Receiver) -> None:
    """A drain that ends early leaves nothing open."""
    sender = HttpSender(receiver.url, [SECRET])
    receiver.hang.set()
    task = asyncio.create_task(sender.post("msg_2", BODY))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    receiver.hang.clear()
    assert (await post(sender)).status == 204
