"""A refusal by FastAPI alone: a dependency that raises, and a handler that writes problem+json.

It has no bucket, no middleware and no counters. Argument: the file of the answer.
"""

import json
import sys
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from bench.baselines.answer import Answer, serve


class Limited(Exception):
    """Raised by the dependency for every request."""


def depends(answer: Answer) -> FastAPI:
    """An application whose only endpoint is guarded by a dependency that refuses."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    document = json.loads(answer.body)
    names = {"content-length", "content-type"}
    headers = {name: value for name, value in answer.headers if name not in names}

    async def guard(request: Request) -> None:  # noqa: ARG001
        raise Limited

    @app.post("/v1/images")
    async def upload(request: Request, _: Annotated[None, Depends(guard)]) -> None:
        """Never reached."""

    @app.exception_handler(Limited)
    async def refuse(request: Request, error: Limited) -> Response:  # noqa: ARG001
        body = json.dumps(document, separators=(",", ":"))
        return Response(
            body, status_code=answer.status, headers=headers, media_type="application/problem+json"
        )

    return app


if __name__ == "__main__":
    serve(depends(Answer.load(sys.argv[1])))
