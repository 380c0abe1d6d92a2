"""The service behind the proxies of deploy/proxies, with TLS by an authority of the test."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml

from tests.proxies import NGINX, find_proxy, running
from tests.service import (
    PATIENCE,
    SMALL,
    Answer,
    Connection,
    Service,
    free_port,
    fresh_address,
    serving,
)

ROOT = Path(__file__).parents[2]
PROXIES = ROOT / "deploy/proxies"
PAGE = (ROOT / "docs/proxies.md").read_text()
HOST = "photos.example"
BURST = 3
MIB = 1 << 20

CADDY = """
{{
	admin off
	auto_https disable_redirects
}}
{}
"""


@dataclass(frozen=True)
class Kind:
    """How one of the proxies is run: its file, what stands around it, its arguments, how it says its port."""

    file: str
    arguments: tuple[str, ...]
    listens: str
    listens_here: str
    around: str = "{}"


KINDS = {
    "nginx": Kind(
        "nginx.conf", ("-p", ".", "-c", "{}", "-e", "stderr"), "listen 443 ", "listen 127.0.0.1:{} ", NGINX
    ),
    "haproxy": Kind("haproxy.cfg", ("-db", "-f", "{}"), "bind :443 ", "bind 127.0.0.1:{} "),
    "caddy": Kind(
        "Caddyfile",
        ("run", "--config", "{}", "--adapter", "caddyfile"),
        f"https://{HOST} {{",
        f"https://{HOST}:{{}} {{{{\n\tbind 127.0.0.1",
        CADDY,
    ),
}


class TlsConnection(Connection):
    """A raw client of the proxy."""

    def __init__(self, port: int, context: ssl.SSLContext, address: str | None = None) -> None:
        super().__init__("127.0.0.1", port, address or fresh_address())
        self.socket = context.wrap_socket(self.socket, server_hostname=HOST)

    def head(self, line: str, *fields: str) -> None:
        """Send a request head for the name that the proxy serves."""
        self.send("\r\n".join([f"{line} HTTP/1.1", f"Host: {HOST}", *fields, "", ""]).encode())

    def drip(self) -> None:
        """Send no more than 200 KiB of a body, in small pieces, until an answer begins."""
        self.socket.settimeout(0.05)
        for _ in range(200):
            self.send(bytes(1024))
            try:
                self._more()
                break
            except TimeoutError:  # nothing has come yet
                continue
        self.socket.settimeout(PATIENCE)


@dataclass(frozen=True)
class Proxy:
    """A running proxy before the service."""

    name: str
    service: Service
    port: int
    context: ssl.SSLContext
    folder: Path
    """Where its configuration is, and authority.pem."""

    def connect(self, address: str | None = None) -> TlsConnection:
        """A connection from a new address, or the one given."""
        return TlsConnection(self.port, self.context, address)

    def post(self, *fields: str, address: str | None = None, body: bytes = b"") -> Answer:
        """The answer to an upload over a connection of its own."""
        with self.connect(address) as connection:
            connection.head("POST /v1/images", f"Content-Length: {len(body)}", *fields)
            connection.send(body)
            return connection.answer()

    def exhaust(self) -> str:
        """An address whose bucket is empty."""
        address = fresh_address()
        for _ in range(BURST):
            assert self.post("Content-Type: text/plain", address=address).status == 415
        return address


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that trusts the proxies of this machine; a bucket that was emptied stays empty."""
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, workers=1, rate=0.001, burst=BURST, trusted_proxies="127.0.0.1") as service:
        yield service


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that clients of this module trust."""
    return trustme.CA()


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest,
    service: Service,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Each of the proxies, with its configuration but for ports and the folder of the certificate."""
    name: str = request.param
    binary = find_proxy(name)
    kind, folder, port = KINDS[name], tmp_path_factory.mktemp(name), free_port()
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(folder / "fullchain.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    text = (PROXIES / kind.file).read_text()
    assert text.count(kind.listens) == 1
    assert "/etc/spillway/tls" in text
    text = text.replace("/etc/spillway/tls", str(folder))
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    text = text.replace(kind.listens, kind.listens_here.format(port))
    (folder / kind.file).write_text(kind.around.format(text))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    command = [binary, *(argument.format(kind.file) for argument in kind.arguments)]
    with running(command, folder, [port]):
        yield Proxy(name, service, port, context, folder)


def test_a_large_photo_passes(proxy: Proxy) -> None:
    """Of 30 MiB, in one request, without a limit of the proxy's own."""
    photo = SMALL + bytes(30 * MIB)
    answer = proxy.post("Content-Type: image/jpeg", body=photo)
    assert answer.status == 202
    assert proxy.service.ended(answer.json()["id"])["source"]["bytes"] == len(photo)


def test_the_bucket_is_that_of_the_clients_address(proxy: Proxy) -> None:
    """Whom a client says that it forwards for is not believed; its neighbour has another bucket."""
    address = proxy.exhaust()
    forged = ("X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7")
    assert proxy.post("Content-Type: text/plain", *forged, address=address).status == 429
    assert proxy.post("Content-Type: text/plain", *forged).status == 415


def test_a_refusal_comes_before_the_body(proxy: Proxy) -> None:
    """Whole, with its fields, when little of the body has been sent."""
    for address, length, expected in ((proxy.exhaust(), 30 * MIB, 429), (None, 40 * MIB, 413)):
        with proxy.connect(address) as connection:
            connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {length}")
            connection.drip()
            answer = connection.answer()
        assert answer.status == answer.json()["status"] == expected
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("retry-after" in answer.headers) == (expected == 429)


def test_a_refusal_arrives_whole_while_the_client_still_sends(proxy: Proxy, tmp_path: Path) -> None:
    """By HTTP/1.1 to a simple client, which sends all before it reads; by HTTP/2 to curl."""
    if proxy.name == "caddy":
        pytest.skip("Caddy may cut it off, as docs/proxies.md says")
    with proxy.connect(proxy.exhaust()) as connection:
        connection.head("POST /v1/images", "Content-Type: image/jpeg", f"Content-Length: {30 * MIB}")
        connection.send(bytes(30 * MIB))
        answer = connection.answer()
    assert answer.status == answer.json()["status"] == 429
    (tmp_path / "photo.jpg").write_bytes(bytes(30 * MIB))
    arguments = f"-sS --http2 --cacert {proxy.folder}/authority.pem --interface {proxy.exhaust()} -H Expect: "
    arguments += (
        f"--resolve {HOST}:{proxy.port}:127.0.0.1 -H Content-Type:image/jpeg --data-binary @photo.jpg"
    )
    command = ["curl", *arguments.split(), f"https://{HOST}:{proxy.port}/v1/images"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == 429


def test_a_client_that_asks_first_need_not_send(proxy: Proxy) -> None:
    """`Expect: 100-continue` is answered by the service, so a refusal saves the body; nginx asks itself."""
    address = proxy.exhaust()
    fields = "Content-Type: image/jpeg", f"Content-Length: {len(SMALL)}", "Expect: 100-continue"
    statuses = []
    for each in (address, None):
        with proxy.connect(each) as connection:
            connection.head("POST /v1/images", *fields)
            statuses.append(connection.answer().status)
            if statuses[-1] == 100:
                connection.send(SMALL)
                statuses.append(connection.answer().status)
    expected = [429, 100, 202]
    assert statuses == ([100, *expected] if proxy.name == "nginx" else expected)


def test_events_arrive_as_they_happen(proxy: Proxy) -> None:
    """An event is here while its job waits: nothing holds it back until there are more."""
    with proxy.service.paused():
        job = proxy.post("Content-Type: image/jpeg", body=SMALL).json()
        with proxy.connect() as connection:
            connection.head(f"GET /v1/images/{job['id']}/events")
            assert any(line.strip() == "event: queued" for line in connection.lines())
            assert proxy.service.status_of(job["id"]) == "queued"


@pytest.mark.parametrize("file", sorted(path.name for path in PROXIES.iterdir()))
def test_each_line_is_explained(file: str) -> None:
    """With what goes wrong without it."""
    lines = [line.strip() for line in (PROXIES / file).read_text().splitlines() if line[:1] in " \t"]
    told = [line.rstrip(";") for line in lines if not line.endswith(("{", "}", ":")) or line == "tls: {}"]
    told = [
        line for line in told if not line.startswith(("server 127", "server_name", "ssl_cert", "proxy_pass"))
    ]
    assert [line for line in told if f"`{line}`" not in PAGE] == []


def test_the_parts_of_traefiks_configuration_fit_together() -> None:
    """It is not in Debian, so no test runs it."""
    static = yaml.safe_load((PROXIES / "traefik.yml").read_text())
    dynamic = yaml.safe_load((PROXIES / "traefik-spillway.yml").read_text())["http"]
    router, service = dynamic["routers"]["spillway"], dynamic["services"]["spillway"]["loadBalancer"]
    assert set(router["entryPoints"]) == set(static["entryPoints"])
    assert set(router["middlewares"]) == set(dynamic["middlewares"])
    assert router["service"] in dynamic["services"]
    assert service["serversTransport"] in dynamic["serversTransports"]
