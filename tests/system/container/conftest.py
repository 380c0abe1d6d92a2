import secrets
from collections.abc import Iterator

import httpx
import pytest

from .compose import Project, why_no_engine


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The published demo, built from this tree and running."""
    if why := why_no_engine():
        pytest.skip(why)
    project = Project(f"spillway-test-{secrets.token_hex(4)}", tmp_path_factory.mktemp("compose"))
    try:
        project.up("--build")
        yield project
    finally:
        project.remove()


@pytest.fixture
def client(project: Project) -> Iterator[httpx.Client]:
    """An HTTP client on the host."""
    with httpx.Client(base_url=project.url, timeout=30, trust_env=False) as client:
        yield client
