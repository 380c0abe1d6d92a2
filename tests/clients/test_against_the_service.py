"""The Python client and `spillway put` against a real service."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from spillway_client import (
    AsyncClient,
    BadSignature,
    Client,
    Gone,
    Photo,
    Refused,
    Upload,
    photos_in,
    verify_webhook,
)
from standardwebhooks import Webhook

from tests import samples
from tests.service import SMALL, Service, run, serving

README = (Path(__file__).parents[2] / "clients/python/README.md").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose buckets hold three tokens, of which ten come back each second."""
    with serving(tmp_path_factory.mktemp("client"), workers=1, rate=10, burst=3) as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.jpeg(200, 100))
    return path


def test_a_photo_is_uploaded_downloaded_and_deleted(service: Service, photo: Path) -> None:
    """The three lines of the README, and what each of them did."""
    sent: list[tuple[int, int]] = []
    with Client(service.url) as client:
        image = client.upload(photo, variants=["thumb"], progress=lambda *part: sent.append(part))
        assert (image.status, set(image.variants)) == ("done", {"thumb"})
        assert sent[-1] == (photo.stat().st_size,) * 2
        size = client.download(image, "thumb", photo.with_name("thumb.jpg"))
        assert size == image.variants["thumb"].size == photo.with_name("thumb.jpg").stat().st_size
        client.delete(image)
        client.delete(image)
        with pytest.raises(Gone):
            client.find(image.id)
        with pytest.raises(Gone):
            client.download(image, "thumb", photo.with_name("again.jpg"))
    assert not photo.with_name("again.jpg.part").exists()


def test_more_photos_than_tokens_all_arrive_once(service: Service) -> None:
    """Twelve photos, six at once, through a bucket of three: each becomes one image."""
    photos = [Photo(f"{number}.jpg", samples.jpeg(64, 48 + number)) for number in range(12)]
    accepted = service.stats()["jobs"]["accepted"]
    with Client(service.url) as client:
        results = list(client.upload_all(map(Upload, photos), concurrency=6))
    assert {result.photo.name for result in results if result.image} == {each.name for each in photos}
    assert service.stats()["jobs"]["accepted"] == accepted + 12


def test_the_asynchronous_client_does_the_same(service: Service, photo: Path) -> None:
    """Uploads, among them one that is refused, and a download."""

    async def use() -> None:
        async with AsyncClient(service.url) as client:
            uploads = [Upload(Photo.of(photo)), Upload(Photo("note.txt", b"no image"))]
            results = {result.photo.name: result async for result in client.upload_all(uploads)}
            assert isinstance(results["note.txt"].error, Refused)
            image = results["photo.jpg"].image
            assert image is not None
            assert await client.find(image.id) == await client.wait(await client.find(image.id))
            assert len(await client.download(image, "thumb")) == image.variants["thumb"].size
            await client.delete(image)

    asyncio.run(use())


def test_put_uploads_folders_and_tells_what_failed(service: Service, tmp_path: Path) -> None:
    """A line for each photo on standard output, the refused one on the other, and status 1."""
    folder = tmp_path / "holiday" / "day one"
    folder.mkdir(parents=True)
    (folder / "beach.jpg").write_bytes(SMALL)
    (folder / "notes.md").write_text("not a photo, and not sent")
    (tmp_path / "broken.png").write_text("no image")
    ended = run("put", "holiday", "broken.png", "--to", service.url, "--variants", "thumb", folder=tmp_path)
    assert ended.returncode == 1
    assert re.fullmatch(rf"beach\.jpg\t{service.url}/v1/images/[0-9a-f]{{32}}/thumb\n", ended.stdout)
    assert ended.stderr.startswith("broken.png: ")
    assert "notes.md" not in ended.stderr
    told = run("put", "holiday", "--json", "--to", service.url, folder=tmp_path)
    assert (told.returncode, json.loads(told.stdout)["status"]) == (0, "done")
    assert run("put", "nowhere", "--to", service.url, folder=tmp_path).returncode == 1


def test_the_readme_s_programs_run(
    service: Service, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every program that it shows, from first to last line."""
    (photo.parent / "holiday").mkdir()
    (photo.parent / "holiday/beach.jpg").write_bytes(SMALL)
    monkeypatch.chdir(photo.parent)
    for program in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(program.replace("http://127.0.0.1:8000", service.url), {})  # noqa: S102
    assert photo.with_name("thumb.jpg").exists()
    assert "beach.jpg" in capsys.readouterr().out


def test_a_folder_is_searched_for_images(tmp_path: Path) -> None:
    """By their names' endings, in every folder below; what is named itself is always taken."""
    for name in ("b.JPG", "sub/a.heic", "sub/c.txt", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [photo.name for photo in photos_in(tmp_path, tmp_path / "d.txt")]
    assert found == ["b.JPG", "a.heic", "d.txt"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(photos_in(tmp_path / "nowhere"))


def test_a_webhook_is_believed_only_with_its_signature() -> None:
    """Either of two secrets will do while one is replaced."""
    old, new = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
    body = json.dumps({"type": "image.done", "data": {"id": "1"}})
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(old).sign("msg_1", now, body),
    }
    assert verify_webhook(body.encode(), headers, f"{new} {old}")["type"] == "image.done"
    with pytest.raises(BadSignature):
        verify_webhook(body, headers, new)
    with pytest.raises(BadSignature):
        verify_webhook(body.replace("1", "2"), headers, old)
