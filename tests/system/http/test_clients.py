"""Who is one client: addresses, networks, proxies; and the leaky bucket, which spaces a client's uploads."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.service import SMALL, Answer, Connection, Service, fresh_address, serving
from tests.system.http.conftest import PROXIES
from tests.system.http.expect import QUOTA_EXCEEDED, limits, problem

PROXY = PROXIES.replace("0.0/16", "0.1")
SECOND_PROXY = PROXIES.replace("0.0/16", "7.7")
NO_UPLOAD = {"content-type": "text/plain"}


def has_ipv6() -> bool:
    """Whether there is a loopback to bind to."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def spend(service: Service, address: str, **headers: str) -> int:
    """Have a client upload once; returns how many tokens it has left."""
    with service.client(address) as client:
        client.post("/v1/images", headers=NO_UPLOAD | headers)
        return int(client.get("/v1/quota", headers=headers).json()["remaining"])


class TestProxies:
    """TRUSTED_PROXIES."""

    def test_other_peers_are_not_believed(self, tight: Service) -> None:
        """What a client says of itself changes nothing."""
        address = fresh_address()
        assert spend(tight, address, **{"x-forwarded-for": "198.51.100.1"}) == 2
        assert spend(tight, address, **{"x-forwarded-for": "198.51.100.2"}) == 1
        assert spend(tight, address, forwarded="for=198.51.100.3") == 0

    def test_name_their_clients(self, tight: Service) -> None:
        """Behind a proxy each client has its own bucket, by whichever field it is named."""
        assert spend(tight, PROXY, **{"x-forwarded-for": "203.0.113.1"}) == 2
        assert spend(tight, PROXY, **{"x-forwarded-for": "203.0.113.1"}) == 1
        assert spend(tight, PROXY, **{"x-forwarded-for": "203.0.113.2"}) == 2
        assert spend(tight, PROXY, forwarded='for="203.0.113.1:4711";proto=https') == 0

    def test_are_walked_from_the_right(self, tight: Service) -> None:
        """What stands left of the address that a proxy saw was written by the client."""
        assert spend(tight, PROXY, **{"x-forwarded-for": "192.0.2.1, 203.0.113.9"}) == 2
        assert spend(tight, PROXY, **{"x-forwarded-for": "192.0.2.2, 203.0.113.9"}) == 1
        assert spend(tight, PROXY, **{"x-forwarded-for": f"203.0.113.9, {SECOND_PROXY}"}) == 0

    def test_group_ipv6_networks(self, tight: Service) -> None:
        """Addresses of one /64 are one client; another /64 is another."""
        assert spend(tight, PROXY, **{"x-forwarded-for": "2001:db8:1:1::1"}) == 2
        assert spend(tight, PROXY, **{"x-forwarded-for": "2001:db8:1:1:ffff::2"}) == 1
        assert spend(tight, PROXY, forwarded='for="[2001:db8:1:1::3]:80"') == 0
        assert spend(tight, PROXY, **{"x-forwarded-for": "2001:db8:1:2::1"}) == 2


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A leaky bucket, on all interfaces where there is IPv6: 4 uploads a second, held up to 1 s."""
    settings = {
        "host": "::" if has_ipv6() else "127.0.0.1",
        "limiter": "leaky_bucket",
        "rate": 4,
        "max_delay": 1,
    }
    with serving(tmp_path_factory.mktemp("leaky"), **settings) as service:
        if service.host == "::1":
            service.host = "127.0.0.1"
            service.url = f"http://127.0.0.1:{service.port}"
        yield service


class TestIpv6:
    """Clients of both families on one listener."""

    @pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
    def test_is_served(self, leaky: Service) -> None:
        """An IPv6 client is served and has a bucket of its own."""
        with httpx.Client(base_url=f"http://[::1]:{leaky.port}", timeout=20) as client:
            answer = client.post("/v1/images", content=SMALL, headers={"content-type": "image/jpeg"})
            assert answer.status_code == 202
            assert limits(answer.headers)[1]["ip"]["r"] == 4

    def test_mapped_addresses_are_themselves(self, leaky: Service) -> None:
        """IPv4 clients of such a listener are not one network."""
        first, second = fresh_address(), fresh_address()
        assert spend(leaky, first) == 4
        assert spend(leaky, second) == 4


class TestLeakyBucket:
    """LIMITER=leaky_bucket."""

    def test_spaces_uploads(self, leaky: Service) -> None:
        """Of many at once some pass, a quarter of a second apart; the others get 429 with Retry-After."""
        address = fresh_address()
        with ExitStack() as stack:
            connections = [stack.enter_context(leaky.connect(address)) for _ in range(20)]
            started = time.monotonic()
            for connection in connections:
                connection.head("POST /v1/images", "Content-Type: text/plain", "Content-Length: 0")

            def outcome(connection: Connection) -> tuple[float, Answer]:
                answer = connection.answer()
                return time.monotonic() - started, answer

            with ThreadPoolExecutor(len(connections)) as threads:
                outcomes = sorted(threads.map(outcome, connections), key=lambda outcome: outcome[0])
        passed = [seconds for seconds, answer in outcomes if answer.status == 415]
        refused = [answer for _, answer in outcomes if answer.status == 429]
        assert len(passed) + len(refused) == 20
        assert len(passed) >= 5
        assert refused
        for number, seconds in enumerate(passed):
            assert seconds > number * 0.25 - 0.01
        for answer in refused:
            problem(answer, 429, QUOTA_EXCEEDED, guard="rate")
            policy, limit = limits(answer.headers)
            assert policy["ip"] == {"q": 5, "w": 2}
            assert limit["ip"]["r"] == 0

    def test_a_first_upload_passes_at_once(self, leaky: Service) -> None:
        """It is not delayed."""
        answer = leaky.upload(prefer="wait=20")
        assert answer.status_code == 201
