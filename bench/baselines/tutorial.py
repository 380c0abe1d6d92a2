"""The upload service of the usual FastAPI tutorial: slowapi, UploadFile, BackgroundTasks, Pillow per size.

Argument: the folder for the images. There is no queue to fill: a background task is started for every upload.
"""

import io
import secrets
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request, UploadFile
from PIL import Image, ImageOps
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

SIDES = {"large": 1600, "medium": 800, "small": 320, "thumb": 96}


def resize(photo: bytes, home: Path) -> None:
    """Make the variants; Starlette runs it in its pool of threads."""
    home.mkdir(parents=True)
    for name, side in SIDES.items():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo)))
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        image.convert("RGB").save(home / f"{name}.jpg", quality=80)


def tutorial(folder: Path) -> FastAPI:
    """The application, which writes each image's variants into a folder of its own in `folder`."""
    limiter = Limiter(key_func=get_remote_address)
    app = FastAPI()
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    @app.post("/v1/images", status_code=202)
    @limiter.limit("10/5seconds")
    async def upload(request: Request, file: UploadFile, tasks: BackgroundTasks) -> dict[str, str]:  # noqa: ARG001
        """Read the photo, and make the variants after the answer."""
        photo = await file.read()
        id_ = secrets.token_hex(16)
        tasks.add_task(resize, photo, folder / id_)
        return {"id": id_}

    return app


if __name__ == "__main__":
    config = uvicorn.Config(tutorial(Path(sys.argv[1])), host="127.0.0.1", port=0, log_level="warning")
    listener = config.bind_socket()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener.detach())])
