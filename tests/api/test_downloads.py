"""Where a client is sent for a variant, with SERVE=redirect."""

from dataclasses import dataclass
from typing import Literal

import pytest
from fastapi import Request

from app.api.downloads import redirect
from app.job import Job, MadeVariant, new_id

pytestmark = pytest.mark.anyio


@dataclass
class AnySigner:
    """Signs for whatever it is asked."""

    async def sign(self, job: Job, variant: str, method: Literal["GET", "HEAD"], lifetime_s: int) -> str:
        return f"https://bucket.example/{job.made[variant].file}?{method}&{lifetime_s}"

    def origin(self) -> str:
        return "https://bucket.example"


@pytest.mark.parametrize(("provisional", "kept"), [(True, "no-store"), (False, "public, max-age=300")])
async def test_caches_send_nobody_to_a_provisional_variant(provisional: bool, kept: str) -> None:
    """Its object is removed when the true one is there, so each client asks the service anew."""
    made = MadeVariant("thumb.jpg", 96, 72, 5, "jpeg", "0" * 64, provisional)
    job = Job(new_id(), 1000.0, 10, (), made={"thumb": made})
    request = Request({"type": "http", "method": "GET", "headers": []})
    answer = await redirect(AnySigner(), request, job, "thumb", 3600)
    assert (answer.status_code, answer.headers["cache-control"]) == (302, kept)
