"""The socket that the server listens on."""

import socket

import pytest

from app.server.listener import AddressTaken, listen, local_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - nothing is bound
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("spillway.test", "http://spillway.test:8000"),
    ],
)
def test_a_server_is_reached_from_its_own_machine(host: str, url: str) -> None:
    """A wildcard address is no address to connect to."""
    assert local_url(host, 8000) == url


def test_a_taken_port_is_one_line() -> None:
    """It names host and port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressTaken, match=rf"^cannot listen on 127\.0\.0\.1 port {port}: [^\n]+$"):
            listen("127.0.0.1", port)


def test_a_free_port_is_listened_on() -> None:
    """Connections are taken before anything is started."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()[:2]) as client:
        assert client.getpeername() == listener.getsockname()
