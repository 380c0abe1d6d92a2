"""Structured logs on standard error, as text for people or as one JSON object a line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from app.runtime.left_out import leave_out_unused

leave_out_unused()

import structlog  # noqa: E402
from structlog.typing import EventDict, Processor  # noqa: E402

from app.runtime import tracing  # noqa: E402

_writes_json = False


def configure(log_format: str) -> None:
    """Write the log lines of structlog and of the standard library in one format: `text` or `json`.

    In JSON `announce()`, `complain()` and Python's warnings are objects too, so that every line is one.
    """
    global _writes_json
    _writes_json = log_format == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[Processor]
    if _writes_json:
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        final = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the pretty one prints locals
            )
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request, with its whole URL
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _add_trace(logger: object, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's signature
    event.update(tracing.ids())
    return event


def are_json() -> bool:
    """Whether every line has to be a JSON object."""
    return _writes_json


def announce(line: str, **fields: Any) -> None:
    """Write a line to standard output for whoever started the process; in JSON with `fields` beside it.

    It is one write, for programs that wait for the line.
    """
    print(_object("info", line, fields) if _writes_json else line, flush=True)


def complain(reason: object, level: str = "error") -> None:
    """Write one line to standard error about the settings or the start: an `error` or a `warning`."""
    text = f"spillway: {'' if level == 'error' else f'{level}: '}{reason}"
    print(_object(level, str(reason), {}) if _writes_json else text, file=sys.stderr, flush=True)


def _object(level: str, event: str, fields: dict[str, Any]) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({**fields, "event": event, "level": level, "timestamp": now})
