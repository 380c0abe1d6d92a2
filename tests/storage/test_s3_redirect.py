"""SERVE=redirect: variants come from signed addresses of the bucket, everything else from the service."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests import samples
from tests.service import Service, run, serving
from tests.storage.servers import S3Server

RETENTION_S = 300


@pytest.fixture
def service(bucket: str, tmp_path: Path) -> Iterator[Service]:
    """A service whose images live for less time than a signature might."""
    settings = {"store_url": f"s3://{bucket}/photos", "serve": "redirect", "retention": f"{RETENTION_S}s"}
    with serving(tmp_path, **settings) as service:
        yield service


def max_age(answer: httpx.Response) -> int:
    """Seconds for which a cache may keep an answer."""
    return int(answer.headers["cache-control"].rpartition("max-age=")[2])


def life(url: str) -> int:
    """Seconds for which a signed address is good."""
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


@pytest.mark.parametrize("server", ["moto", "ceph"], indirect=True)
def test_clients_are_sent_to_the_bucket_for_a_while(service: Service, server: S3Server) -> None:
    """The address in the document stays the service's; whoever follows it gets the right bytes and fields."""
    document = service.upload(samples.jpeg(300, 200), prefer="wait=20").json()
    with service.client() as client:
        for name, made in document["variants"].items():
            assert made["url"] == f"/v1/images/{document['id']}/{name}"
            sent = client.get(made["url"])
            assert (sent.status_code, sent.content) == (302, b"")
            signed = sent.headers["location"]
            assert signed.startswith(f"{server.endpoint}/")
            assert 0 < max_age(sent) < life(signed) <= RETENTION_S
            whole = httpx.get(signed)
            assert whole.status_code == 200
            assert hashlib.sha256(whole.content).hexdigest() == made["sha256"]
            assert whole.headers["content-type"] == "image/jpeg"
            assert whole.headers["content-disposition"] == f'inline; filename="{name}.jpg"'
            assert max_age(whole) <= RETENTION_S
        part = client.get(made["url"], headers={"Range": "bytes=10-19"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        known = {"If-None-Match": whole.headers["etag"]}
        assert client.get(made["url"], headers=known).status_code == 302
        assert httpx.get(signed, headers=known).status_code == 304
        # HEAD is signed for HEAD, and caches, which might take it for a GET's, do not keep it.
        sent = client.head(made["url"])
        assert (sent.status_code, sent.headers["cache-control"]) == (302, "no-store")
        followed = client.head(made["url"], follow_redirects=True)
        assert (followed.status_code, followed.headers["content-length"]) == (200, str(made["bytes"]))


def test_what_is_deleted_is_gone_and_the_page_may_show_the_rest(service: Service, server: S3Server) -> None:
    """The bucket has no byte of it, whoever knows a signed address; the page's policy names the bucket."""
    document = service.upload(samples.jpeg(300, 200), prefer="wait=20").json()
    url = document["variants"]["thumb"]["url"]
    with service.client() as client:
        signed = client.get(url).headers["location"]
        fields = {"authorization": f"Bearer {document['delete_token']}"}
        assert client.delete(document["links"]["self"], headers=fields).status_code == 204
        assert client.get(url).status_code == 404
    assert httpx.get(signed).status_code == 404
    page = service.get("/")
    assert f"img-src 'self' {server.endpoint} data: blob:;" in page.headers["content-security-policy"]
    store = str(service._settings["store_url"])
    done = run("check", folder=service.folder, workers=1, serve="redirect", store_url=store)
    assert f"images are fetched from {server.endpoint}\n" in done.stderr
