"""Fixtures for tests of the pipeline: codecs loaded, and tasks carried out in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workers.codecs import load_codecs
from workers.imaging import create_files, make_variants
from workers.messages import Done, Task

Making = Callable[..., tuple[Done, dict[str, Path]]]


@pytest.fixture(autouse=True)
def _codecs() -> None:
    load_codecs()


@pytest.fixture
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Making:
    """A function that makes variants of some bytes: the outcome, and the file of each variant."""
    # A task changes it for its own process, which here is that of the next test, too.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)

    folder = tmp_path / "made"
    folder.mkdir()

    def run(data: bytes, *variants: str, **limits: Any) -> tuple[Done, dict[str, Path]]:
        source = tmp_path / "upload"
        source.write_bytes(data)
        settings = {"max_pixels": 10**8, "timeout_s": 30.0, "memory_bytes": 2**30, **limits}
        task = Task("job", str(source), str(folder), variants or ("it=64",), **settings)
        done = make_variants(task, create_files(task))
        return done, {made.name: folder / made.file for made in done.made}

    return run


@pytest.fixture
def seen(making: Making) -> Callable[..., Image.Image]:
    """A function that makes one variant of some bytes, and decodes it."""

    def look(data: bytes, variant: str = "it=64@png", **limits: Any) -> Image.Image:
        _, files = making(data, variant, **limits)
        with Image.open(next(iter(files.values()))) as image:
            image.load()
            return image

    return look
