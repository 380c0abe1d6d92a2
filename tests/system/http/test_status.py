"""Statistics, metrics, health and the API description, and what holds at every address: HEAD, 404, 405."""

import json
import re
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service import SMALL, Service, fresh_address
from tests.system.http.conftest import ORIGIN
from tests.system.http.expect import problem

JOB = "/v1/images/" + "0" * 32
READABLE = [
    "/",
    "/docs",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/problems",
    "/problems/queue",
    "/readyz",
    "/v1/quota",
    "/v1/stats",
]


class TestStats:
    """GET /v1/stats."""

    def test_holds_what_the_contract_names(self, service: Service) -> None:
        """Every member, with counters that count."""
        before = service.settled()
        service.upload(prefer="wait=20")
        stats = service.settled()
        assert stats["uptime_s"] >= 0
        counters = {"accepted", "done", "failed", "cancelled", "deferred", "degraded", "provisional"}
        assert stats["jobs"].keys() == counters
        assert stats["jobs"]["done"] == before["jobs"]["done"] + 1
        assert stats["jobs"]["accepted"] == before["jobs"]["accepted"] + 1
        guards = {"rate", "share", "draining", "breaker", "queue", "disk"}
        assert stats["refusals"].keys() >= guards | {"400", "408", "413", "415"}
        assert stats["limiter"]["capacity"] == 100_000
        assert 0 < stats["limiter"]["clients"] <= 100_000
        members = {"capacity", "receiving", "waiting", "drain_per_s", "estimated_wait_ms"}
        assert stats["backlog"].keys() >= members
        assert stats["backlog"]["capacity"] == 100
        (worker,) = stats["workers"]
        assert worker.keys() >= {"state", "busy_ms", "jobs", "restarts"}
        assert worker["jobs"] > before["workers"][0]["jobs"]
        assert worker["restarts"] == 0
        assert stats["brownout"] == {"active": False, "begun": 0, "deferred": 0, "capacity": 1000}
        assert isinstance(stats["breakers"], dict)
        assert 20 * 2**20 < stats["memory_bytes"] < 2**31
        assert stats["store_bytes"] > before["store_bytes"]

    def test_names_no_client(self, service: Service) -> None:
        """No client address and no image id, whatever is going on; nor in the metrics."""
        address = fresh_address()
        with service.paused(), service.client(address) as client, service.connect(address) as connection:
            ids = [service.upload(address=address).json()["id"] for _ in range(3)]
            connection.head("POST /v1/images", "Content-Type: image/jpeg", "Content-Length: 10")
            for path in ("/v1/stats", "/metrics"):
                text = client.get(path).text
                assert address not in text
                assert not re.search(r"\b127\.", text)
                for job_id in ids:
                    assert job_id not in text
        service.settled()


class TestMetrics:
    """GET /metrics."""

    def test_is_prometheus_text(self, service: Service) -> None:
        """A Prometheus parser reads it, and it says what the statistics say."""
        service.upload(prefer="wait=20")
        stats = service.settled()
        with service.client() as client:
            answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        assert all(name.startswith("spillway_") for name in families)

        def by(name: str, label: str) -> dict[str, float]:
            return {
                sample.labels[label]: sample.value
                for sample in families[name].samples
                if label in sample.labels
            }

        assert by("spillway_jobs", "outcome") == stats["jobs"]
        assert by("spillway_refusals", "guard") == stats["refusals"]
        slots = by("spillway_backlog_slots", "state")
        assert slots["capacity"] == 100
        assert slots["waiting"] == slots["receiving"] == 0
        assert "spillway_jobs_total{" in answer.text
        assert "spillway_refusals_total{" in answer.text
        histograms = {name: family for name, family in families.items() if family.type == "histogram"}
        assert len(histograms) == 3  # wait, service time, request duration
        for name, family in histograms.items():
            counts = [sample.value for sample in family.samples if sample.name == f"{name}_count"]
            assert counts[0] > 0

    def test_does_not_grow_with_clients(self, service: Service) -> None:
        """As many series after many clients and paths as before."""

        def series() -> set[str]:
            with service.client() as client:
                lines = client.get("/metrics").text.splitlines()
            return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

        before = series()
        for number in range(5):
            service.upload(b"text")
            with service.client() as client:
                client.get(f"/nowhere/{number}")
        assert series() == before


class TestHealth:
    """GET /healthz, /readyz."""

    def test_alive_and_ready(self, client: httpx.Client) -> None:
        """Both, and neither is to be cached."""
        for path in ("/healthz", "/readyz"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"


class TestEveryAddress:
    """What holds at every address."""

    @pytest.mark.parametrize("path", READABLE)
    def test_head(self, client: httpx.Client, path: str) -> None:
        """HEAD works wherever GET does, without a body."""
        get, head = client.get(path), client.head(path)
        assert get.status_code == head.status_code == 200
        assert head.content == b""
        assert head.headers["content-type"] == get.headers["content-type"]

    @pytest.mark.parametrize("path", [*READABLE, JOB, f"{JOB}/thumb", f"{JOB}/events"])
    def test_other_methods(self, client: httpx.Client, path: str) -> None:
        """A method that does not work: 405 with Allow, as a problem."""
        for method in ("PUT", "PATCH", "POST", "TRACE", "OPTIONS"):
            answer = client.request(method, path)
            problem(answer, 405, "method-not-allowed")
            assert "GET" in answer.headers["allow"]

    def test_methods_of_uploads(self, client: httpx.Client) -> None:
        """Uploads are posted and nothing else."""
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
            answer = client.request(method, "/v1/images")
            assert answer.status_code == 405
            assert "POST" in answer.headers["allow"]

    @pytest.mark.parametrize(
        "path",
        ["/nowhere", "/v1", "/v1/", "/v1/images/", f"{JOB}/", "/problems/nonsense", "/static/x", "/redoc"],
    )
    def test_unknown_addresses(self, client: httpx.Client, path: str) -> None:
        """404 as a problem, for HEAD without its body."""
        answer = client.get(path)
        if path == "/v1/images/":
            assert answer.status_code in (404, 405)
            return
        problem(answer, 404, "not-found")
        head = client.head(path)
        assert (head.status_code, head.content) == (404, b"")

    def test_sniffing(self, client: httpx.Client) -> None:
        """Browsers are told to trust nothing, on pages and refusals alike."""
        for path in (*READABLE, "/nowhere"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "server" not in headers


@pytest.fixture(scope="module")
def described(service: Service) -> Any:
    """The description of the API."""
    with service.client() as client:
        return client.get("/openapi.json").json()


class TestDescription:
    """GET /openapi.json."""

    def test_names_every_endpoint(self, described: Any) -> None:
        """All of the contract's, with their methods."""
        assert described["openapi"].startswith("3.")
        assert {path: set(item) for path, item in described["paths"].items()} == {
            "/v1/images": {"post"},
            "/v1/images/{id}": {"get", "delete"},
            "/v1/images/{id}/events": {"get"},
            "/v1/images/{id}/original": {"get"},
            "/v1/images/{id}/variants": {"post"},
            "/v1/images/{id}/{variant}": {"get"},
            "/v1/quota": {"get"},
            "/v1/stats": {"get"},
            "/v1/stats/stream": {"get"},
            "/healthz": {"get"},
            "/readyz": {"get"},
            "/metrics": {"get"},
        }

    def test_lists_every_refusal(self, described: Any) -> None:
        """Each status an upload can be refused with, as a problem, with its fields."""
        upload = described["paths"]["/v1/images"]["post"]
        refusals = {status for status in upload["responses"] if status >= "400"}
        assert refusals == set("400 401 403 406 408 409 413 415 422 429 500 503 507".split())  # noqa: SIM905
        for status in refusals:
            answer = upload["responses"][status]
            assert answer["description"]
            assert "application/problem+json" in answer["content"]
        for status in ("429", "503"):
            assert set(upload["responses"][status]["headers"]) >= {
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
            }
        assert "Accept" in upload["responses"]["415"]["headers"]
        assert "Upload-Limit" in upload["responses"]["413"]["headers"]
        text = json.dumps(upload["responses"])
        for name in (
            "rate",
            "share",
            "draining",
            "queue",
            "disk",
            "undecodable",
            "too-many-pixels",
            "worker-died",
        ):
            assert f"`{name}`" in text

    def test_describes_the_other_refusals(self, described: Any) -> None:
        """Those of reading and of removal too, and no validation error that no route answers with."""
        paths = described["paths"]
        image = paths["/v1/images/{id}"]
        assert {"204", "401", "403", "404"} <= set(image["delete"]["responses"])
        assert {"200", "404", "503"} <= set(image["get"]["responses"])
        assert {"200", "206", "304", "404", "416"} <= set(
            paths["/v1/images/{id}/{variant}"]["get"]["responses"]
        )
        assert {"200", "204", "404", "503"} <= set(paths["/v1/images/{id}/events"]["get"]["responses"])
        assert "HTTPValidationError" not in json.dumps(described)

    def test_lets_a_page_upload(self, described: Any) -> None:
        """The form has a file picker, and raw bodies are described."""
        content = described["paths"]["/v1/images"]["post"]["requestBody"]["content"]
        file = content["multipart/form-data"]["schema"]["properties"]["file"]
        assert file["format"] == "binary" or "contentMediaType" in file
        assert "application/octet-stream" in content

    def test_prefills_nothing(self, described: Any) -> None:
        """A page that sends examples and defaults as they are would send the same key with the next photo."""
        for operations in described["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    told = {*parameter, *parameter["schema"]}
                    assert not told & {"example", "examples", "default"}, parameter["name"]

    def test_gives_generators_what_they_know(self, described: Any) -> None:
        """Plain names of operations, all tags, the server, moments as such, and no wildcard of types."""
        operations = [each for item in described["paths"].values() for each in item.values()]
        names = {each["operationId"] for each in operations}
        assert len(names) == len(operations)
        assert names >= {
            "upload_image",
            "get_image",
            "get_variant",
            "delete_image",
            "get_stats",
            "check_health",
        }
        assert all(each["summary"] and each["description"] for each in operations)
        tags = {tag["name"]: tag["description"] for tag in described["tags"]}
        told = [each for item in described.get("webhooks", {}).values() for each in item.values()]
        assert {tag for each in (*operations, *told) for tag in each["tags"]} == set(tags)
        assert [server["url"] for server in described["servers"]] == ["/"]
        job = described["components"]["schemas"]["JobDocument"]["properties"]
        assert job["created_at"]["format"] == "date-time"
        assert {"type": "string", "format": "date-time"} in job["finished_at"]["anyOf"]
        assert "*/" not in (text := json.dumps(described)), text
        assert '/*"' not in text

    def test_holds_together(self, described: Any) -> None:
        """Every reference leads somewhere."""
        for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(described))):
            found = described
            for step in reference.split("/"):
                found = found[step]


class TestPages:
    """The pages for people come from here alone."""

    @pytest.mark.parametrize("path", ["/", "/docs"])
    def test_assets(self, client: httpx.Client, path: str) -> None:
        """Every script, style and picture of a page is this service's, and there."""
        page = client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert assets
        assert not re.findall(r'src="https?:', page.text)
        for asset in assets:
            assert client.get(asset).status_code == 200

    def test_problem_types(self, client: httpx.Client, service: Service) -> None:
        """A problem's own type leads to its page."""
        kind = service.upload(b"text").json()["type"]
        page = client.get(kind)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")


class TestCors:
    """CORS_ORIGINS."""

    def test_off(self, service: Service) -> None:
        """Without it, no page elsewhere may read anything."""
        with service.client() as client:
            for path in ("/v1/stats", "/v1/quota", "/nowhere"):
                headers = client.get(path, headers={"origin": ORIGIN}).headers
                assert not [name for name in headers if name.startswith("access-control")]

    def test_on(self, tight: Service) -> None:
        """The origin that is named may upload, read and delete; preflights say so."""
        with tight.client() as client:
            for method in ("POST", "GET", "DELETE"):
                asked = {
                    "origin": ORIGIN,
                    "access-control-request-method": method,
                    "access-control-request-headers": "prefer, content-type, authorization",
                }
                answer = client.options("/v1/images", headers=asked)
                assert answer.status_code in (200, 204)
                assert answer.headers["access-control-allow-origin"] == ORIGIN
                assert method in answer.headers["access-control-allow-methods"]
                allowed = answer.headers["access-control-allow-headers"].lower()
                assert all(name in allowed for name in ("prefer", "content-type", "authorization"))
            assert client.get("/v1/quota").json()["remaining"] == 3
            answer = client.get("/v1/quota", headers={"origin": ORIGIN})
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            other = client.get("/v1/quota", headers={"origin": "https://elsewhere.example"})
            assert "access-control-allow-origin" not in other.headers

    @pytest.mark.parametrize(
        "name", ["Cache-Control", "X-Requested-With", "Content-Type", "If-None-Match", "Range"]
    )
    def test_what_libraries_send(self, tight: Service, name: str) -> None:
        """Dropzone and uppy add fields that mean nothing here; a preflight lets them."""
        asked = {
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": name.lower(),
        }
        with tight.client() as client:
            answer = client.options("/v1/images", headers=asked)
        assert answer.status_code == 200
        assert name.lower() in answer.headers["access-control-allow-headers"].lower()

    @pytest.mark.parametrize(
        ("name", "value", "named"),
        [
            ("origin", "https://elsewhere.example", "origin"),
            ("access-control-request-method", "PUT", "method"),
            ("access-control-request-headers", "x-evil", "headers"),
        ],
    )
    def test_refused_preflights(self, tight: Service, name: str, value: str, named: str) -> None:
        """A problem says what is not allowed; the preflight may not be kept for the actual request."""
        asked = {"origin": ORIGIN, "access-control-request-method": "POST", name: value}
        with tight.client() as client:
            answer = client.options("/v1/images", headers=asked)
        assert named in problem(answer, 400, "preflight")["detail"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Origin" in answer.headers["vary"]

    def test_on_refusals_of_bodies(self, tight: Service) -> None:
        """A 404, a 405 and a 400 can be read as well."""
        with tight.client() as client:
            origin = {"origin": ORIGIN}
            answers = [
                client.get("/nowhere", headers=origin),
                client.put("/v1/quota", headers=origin),
                client.post(
                    "/v1/images?variants=x", content=SMALL, headers={**origin, "content-type": "image/jpeg"}
                ),
            ]
        assert [answer.status_code for answer in answers] == [404, 405, 400]
        assert all(answer.headers["access-control-allow-origin"] == ORIGIN for answer in answers)
