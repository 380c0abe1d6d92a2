"""What the explorer of the description cannot guess: some calls need an image that is there, or its token."""

from typing import Any

import httpx
import schemathesis

from tests.service import SMALL

_tokens: dict[str, str] = {}
"""The delete token of every image that was uploaded."""


def _uploaded(case: Any) -> dict[str, Any]:
    """The document of an image of the caller's own, done."""
    uploads = f"{case.operation.base_url.rstrip('/')}/v1/images"
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=20"}
    answer = httpx.post(uploads, content=SMALL, headers=headers, trust_env=False)
    return dict(answer.json())


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Ask for an image that is there, where any would do."""
    variant = (case.method.upper(), case.operation.path) == ("GET", "/v1/images/{id}/{variant}")
    if variant and case.meta and case.meta.generation.mode.is_positive:
        case.path_parameters |= {"id": _uploaded(case)["id"], "variant": "thumb"}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember what an upload was told."""
    if case.method.upper() == "POST" and response.status_code in (201, 202):
        document = response.json()
        if "delete_token" in document:
            _tokens[document["id"]] = document["delete_token"]


@schemathesis.auth(refresh_interval=None).apply_to(
    lambda ctx: {"delete_token": []} in (ctx.operation.definition.raw.get("security") or [])
)
class DeleteToken:
    """The token of an image, where one is needed: of an image of its own where the id is made up."""

    def get(self, case: Any, context: Any) -> tuple[str, str]:  # noqa: ARG002 - by its name
        """The id of an image, and its token."""
        job_id = (case.path_parameters or {}).get("id")
        if job_id not in _tokens:
            document = _uploaded(case)
            job_id = document["id"]
            _tokens[job_id] = document["delete_token"]
        return job_id, _tokens[job_id]

    def set(self, case: Any, data: tuple[str, str], context: Any) -> None:  # noqa: ARG002
        """Ask for that image, with its token."""
        case.path_parameters = {**(case.path_parameters or {}), "id": data[0]}
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data[1]}"}
