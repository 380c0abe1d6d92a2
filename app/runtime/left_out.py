"""Keeps out of memory what libraries import in passing, and can do without."""

import sys


def leave_out_unused() -> None:
    """Call this before anything imports structlog or FastAPI; calling it again changes nothing.

    structlog imports rich for tracebacks that no log of ours has, which takes 4 MB. Whoever imports rich
    after this gets it. FastAPI imports the models of pydantic 1 only to refuse them, which takes 1 MB.
    """
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    modules.setdefault("pydantic.v1", None)  # for the import statement: it is not there
    if "rich" in modules:
        return
    modules["rich"] = None
    try:
        import structlog  # noqa: F401
    finally:
        del modules["rich"]
