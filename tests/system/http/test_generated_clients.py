"""Generators of API clients make usable clients of the description."""

import base64
import importlib
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import samples
from tests.javascript import bundle, copy_source, packages, run_node
from tests.service import Service

GENERATOR = str(Path(sys.executable).with_name("openapi-python-client"))


@pytest.fixture(scope="module")
def generated(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The modules of a client that openapi-python-client makes of the service's own description."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "openapi.json"
    description.write_bytes(service.get("/openapi.json").body)
    options = ("--meta", "none", "--output-path", folder / "made_client", "--fail-on-warning")
    run = subprocess.run(
        [GENERATOR, "generate", "--path", description, *options],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    sys.path.insert(0, str(folder))
    try:
        names = ("client", "types", "models", "api.images.upload_image", "api.images.get_image")
        names += ("api.images.get_variant", "api.images.delete_image", "api.status.get_quota")
        modules = {name.rpartition(".")[2]: importlib.import_module(f"made_client.{name}") for name in names}
        yield SimpleNamespace(**modules)
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def client(service: Service, generated: Any) -> Any:
    """A client for the service, of an address of its own."""
    with service.client() as transport:
        yield generated.client.Client(base_url=service.url).set_httpx_client(transport)


def form(generated: Any, data: bytes) -> Any:
    """An image as a file of a form."""
    file = generated.types.File(BytesIO(data), "photo.jpg", "image/jpeg")
    return generated.models.UploadImageFilesBody(file)


def raw(generated: Any, data: bytes) -> Any:
    """An image as the body itself."""
    return generated.types.File(BytesIO(data))


@pytest.mark.parametrize("body", [form, raw])
def test_it_uploads_and_downloads(service: Service, generated: Any, client: Any, body: Any) -> None:
    """Uploads, each under its own key, come back as documents and variants as bytes; an image is deleted."""
    for number in range(2):
        uploaded = generated.upload_image.sync(
            client=client,
            body=body(generated, samples.jpeg(320, 200 + number)),
            variants="thumb",
            prefer="wait=20",
            idempotency_key=f'"{body.__name__}-{number}"',
        )
        assert isinstance(uploaded, generated.models.UploadDocument)
        assert uploaded.status == "done"
        assert uploaded.created_at.tzinfo is not None
        made = uploaded.variants["thumb"]
        file = generated.get_variant.sync(uploaded.id, "thumb", client=client)
        assert isinstance(file, generated.types.File)
        assert len(file.payload.read()) == made.bytes_
        looked_up = generated.get_image.sync(uploaded.id, client=client)
        assert looked_up.finished_at == uploaded.finished_at
    with generated.client.AuthenticatedClient(base_url=service.url, token=uploaded.delete_token) as owner:
        assert generated.delete_image.sync_detailed(uploaded.id, client=owner).status_code == 204
    gone = generated.get_image.sync(uploaded.id, client=client)
    assert isinstance(gone, generated.models.ProblemDocument)
    assert gone.status == 404


def test_it_is_told_what_is_wrong(generated: Any, client: Any) -> None:
    """A refusal is a problem with its members, and other documents have their models, too."""
    refused = generated.upload_image.sync(client=client, body=raw(generated, b"no image"))
    assert isinstance(refused, generated.models.ProblemDocument)
    assert (refused.status, refused.type_) == (415, "/problems/unsupported-media-type")
    assert generated.get_quota.sync(client=client).remaining >= 0


def test_typescript(service: Service, tmp_path: Path) -> None:
    """By types of openapi-typescript a program compiles strictly, and uploads, downloads and deletes."""
    (tmp_path / "openapi.json").write_bytes(service.get("/openapi.json").body)
    source = copy_source("client.ts", tmp_path)
    run_node(
        packages() / "openapi-typescript/bin/cli.js", "openapi.json", "-o", "service.d.ts", folder=tmp_path
    )
    strictly = (
        "--noEmit",
        "--skipLibCheck",
        "--strict",
        "--noUncheckedIndexedAccess",
        "--exactOptionalPropertyTypes",
    )
    modern = ("--target", "es2022", "--module", "preserve", "--lib", "es2022,dom,dom.iterable")
    run_node(packages() / "typescript/bin/tsc", *strictly, *modern, source.name, folder=tmp_path)
    photo = base64.b64encode(samples.jpeg(320, 240)).decode()
    assert run_node(bundle(source, "node"), service.url, photo, folder=tmp_path) == "used\n"
