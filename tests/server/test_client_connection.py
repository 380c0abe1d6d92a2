"""What endpoints may ask of a request's connection, and what stands in for it under other servers."""

from typing import Any

from app.server.client_connection import connection_of


def test_the_server_s_own_connection_is_given() -> None:
    """It is the object in the request's state."""
    connection = object()
    assert connection_of({"type": "http", "state": {"connection": connection}}) is connection  # type: ignore[comparison-overlap]


def test_each_request_of_another_server_has_a_substitute_of_its_own() -> None:
    """It remembers the reading speed, and calls nobody."""
    first: dict[str, Any] = {"type": "http", "state": {}}
    second: dict[str, Any] = {"type": "http"}
    connection = connection_of(first)
    connection.fast_reading = True
    assert connection_of(first) is connection
    assert connection_of(first).fast_reading
    assert not connection_of(second).fast_reading

    def never() -> None:
        raise AssertionError

    connection.on_disconnect(never)
    connection.treat_eof_as_disconnect()
    connection.on_disconnect(None)
