"""The upload service of the usual tutorial, whose queue has no bound: what the crowd of the page lets die.

The demonstration alone runs it, as `python -m app.web.unbounded`. Every upload is read into memory and
answered at once, and its variants are made afterwards in a pool of threads. Nothing is refused, so what waits
is bounded by the memory alone. It prints its address, and then its figures some times a second, each as a
line of JSON.
"""

import io
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from PIL import Image, ImageOps

_SIDES = (1600, 800, 320, 96)
_NICENESS = 19
"""It is to die of what it holds, and not to take the cores from the service that it is compared with."""
_TELL_S = 0.25


@dataclass(slots=True)
class Figures:
    """Uploads accepted and done, and the bytes of those that are in memory."""

    accepted: int = 0
    done: int = 0
    held_bytes: int = 0


def unbounded_service(figures: Figures) -> FastAPI:
    """The application, which counts into `figures`."""
    app = FastAPI()

    def resize(photo: bytes) -> None:
        for side in _SIDES:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo)))
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.convert("RGB").save(io.BytesIO(), "JPEG", quality=80)
        figures.done += 1
        figures.held_bytes -= len(photo)

    @app.post("/upload", status_code=202)
    async def upload(request: Request, tasks: BackgroundTasks) -> dict[str, bool]:
        photo = await request.body()
        figures.accepted += 1
        figures.held_bytes += len(photo)
        tasks.add_task(resize, photo)
        return {"accepted": True}

    return app


def main() -> None:
    """Serve on a free port of the loopback until killed."""
    os.nice(_NICENESS)
    figures = Figures()
    config = uvicorn.Config(unbounded_service(figures), host="127.0.0.1", port=0, log_level="critical")
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)

    def tell() -> None:
        while True:
            print(json.dumps(asdict(figures)), flush=True)
            time.sleep(_TELL_S)

    threading.Thread(target=tell, daemon=True).start()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
