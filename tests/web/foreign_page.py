"""A page of another origin than the service, served from a folder, for scripts that upload from elsewhere."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>elsewhere</title><main>{body}</main>
<script type="module" src="{script}"></script>"""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files, and keeps no log."""

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """Serve the files of a folder for the length of the block; the origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, name="static server")
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def foreign_page(folder: Path, script: str = "", body: str = "") -> Iterator[str]:
    """Serve a page with this HTML and module for the length of the block; its origin.

    The module is in the folder when the page is loaded, if not before.
    """
    (folder / "index.html").write_text(_PAGE.format(script=script, body=body))
    with static_server(folder) as origin:
        yield origin
