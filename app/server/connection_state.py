"""The states of an HTTP connection's input, and what it shares with the other connections of its server."""

from dataclasses import dataclass, field
from enum import Enum, auto

from app.server.connection_limit import LargeHeads
from app.server.cors import CorsFields
from app.server.fast_reject import FastReject
from app.server.hooks import RenderProblem, render_as_json
from app.server.lingering_close import LingeringClose
from app.server.parse_queue import ParseQueue
from app.server.slow_readers import SlowReaders


class Input(Enum):
    """What the next bytes from the client are."""

    HEAD = auto()
    """The head of a request; nothing has come of it while the connection is idle."""
    BODY = auto()
    """The body of a request that the application has got."""
    DROPPED_BODY = auto()
    """The body of a request that was answered by its head alone. It is parsed, and dropped."""
    LINGERING = auto()
    """Not looked at: `LingeringClose` discards them."""
    EOF = auto()
    """None: the client has shut down its sending side, and still gets the answers to what it sent."""


UNPARSED = (Input.LINGERING, Input.EOF)
"""The states in which the parser gets nothing."""


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What all connections of one server have in common."""

    fast_reject: FastReject
    max_connections: int
    lingering_close: LingeringClose
    cors: CorsFields | None = None
    render_problem: RenderProblem = render_as_json
    slow_readers: SlowReaders = field(default_factory=SlowReaders)
    parse_queue: ParseQueue = field(default_factory=ParseQueue)
    large_heads: LargeHeads = field(default_factory=LargeHeads)
