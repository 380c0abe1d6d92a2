"""A refusal by uvicorn alone: an ASGI callable with the answer ready. Argument: the file of the answer."""

import sys

from bench.baselines.answer import Answer, serve


def bare(answer: Answer):
    """An application that gives `answer` to everything, its body unread."""
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    body = answer.body.encode()

    async def app(scope, receive, send):  # noqa: ARG001
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    serve(bare(Answer.load(sys.argv[1])))
