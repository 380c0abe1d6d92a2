"""Traces: what a collector of OpenTelemetry gets of an upload, by OTLP over HTTP."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from app.job import Job
from app.runtime import tracing
from tests.service import SMALL, Service, serving, until
from tests.webhooks.receiver import SECRET, Receiver, receiving

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NAMES = {"POST /v1/images", "receive", "store", "queue", "work", "fetch", "record", "webhook image.done"}


class Collector(ThreadingHTTPServer):
    """Takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self.resources: list[dict[str, str]] = []
        self.spans: list[Any] = []

    def of(self, trace_id: str) -> dict[str, Any]:
        """The spans of a trace by their names."""
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


class _Export(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        for exported in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = exported.resource.attributes
            self.server.resources.append({each.key: each.value.string_value for each in attributes})
            self.server.spans += [span for scope in exported.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that listens."""
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service(
    collector: Collector, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service that was told of the collector by the variables of OpenTelemetry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        patch.setenv("OTEL_SERVICE_NAME", "photos")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        settings = {"webhook_url": receiver.url, "webhook_secret": SECRET, "log_format": "json"}
        with serving(tmp_path_factory.mktemp("traced"), workers=1, **settings) as service:
            yield service


def test_one_trace_leads_from_the_request_to_the_webhook(
    service: Service, collector: Collector, receiver: Receiver
) -> None:
    """It is the trace that the client names, and the receiver is told of it."""
    answer = service.upload(traceparent=f"00-{TRACE}-{PARENT}-01", **{"x-request-id": "edge-7"})
    assert answer.status_code == 202
    until(lambda: collector.of(TRACE).keys() == NAMES, "the trace", show=lambda: collector.of(TRACE).keys())
    spans = collector.of(TRACE)
    request = spans["POST /v1/images"]
    assert request.parent_span_id.hex() == PARENT
    assert spans["fetch"].parent_span_id == spans["work"].span_id
    for name in NAMES - {"POST /v1/images", "fetch"}:
        assert spans[name].parent_span_id == request.span_id, name
    attributes = {each.key: each.value for each in request.attributes}
    assert attributes["spillway.request_id"].string_value == "edge-7"
    assert attributes["http.response.status_code"].int_value == 202
    assert {resource["service.name"] for resource in collector.resources} == {"photos"}
    (event,) = receiver.of(answer.json()["id"])
    assert event.headers["traceparent"] == f"00-{TRACE}-{spans['webhook image.done'].span_id.hex()}-01"


def test_lines_of_the_log_have_the_ids(service: Service, collector: Collector) -> None:
    """Those of the trace and of the request, where they were written for one."""
    trace = "1" * 32
    broken = service.upload(
        SMALL[:300], traceparent=f"00-{trace}-{PARENT}-01", **{"x-request-id": "edge-8"}
    ).json()
    service.ended(broken["id"])
    lines = [json.loads(line) for line in service.errors().splitlines()]
    assert any(line.get("trace_id") == trace and line.get("job") == broken["id"] for line in lines), lines


def test_a_strangers_fields_are_read_with_care(service: Service, collector: Collector) -> None:
    """What is too long or no context begins a new trace, and spans are named by what does not grow."""
    request_id = {"x-request-id": "stranger"}
    fields = {"traceparent": "0" * 5000, "tracestate": "a=" + "b" * 5000, **request_id}
    job = service.upload(prefer="wait=20", **fields).json()
    service.get(job["variants"]["thumb"]["url"], "traceparent: 00-garbage", "x-request-id: stranger")

    def begun() -> dict[str, bytes]:
        """The spans of these requests by name, and what each is part of; others may still come in."""
        return {
            span.name: span.parent_span_id
            for span in collector.spans
            if any(each.value.string_value == "stranger" for each in span.attributes)
        }

    expected = {"POST /v1/images": b"", "GET /v1/images/{id}/{variant}": b""}
    until(lambda: begun() == expected, "both spans, which are part of nothing", show=begun)
    assert "exceeded" not in service.errors()


def test_a_record_says_which_trace_its_job_belongs_to() -> None:
    """So that it goes on after a restart, and on another machine; without traces records are as they were."""
    job = Job("0" * 32, 1.0, 10, ())
    assert b"trace" not in job.to_record()
    job.trace = f"00-{TRACE}-{PARENT}-01"
    assert Job.from_record(job.to_record()).trace == job.trace


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_SERVICE_NAME": "photos"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, ""),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is spoken here"),
    ],
    ids=lambda each: next(reversed(each), "") if isinstance(each, dict) else "",
)
def test_no_traces_are_made_where_they_are_not_asked_for(variables: dict[str, str], reason: str) -> None:
    """Nor where they are turned off, or cannot be sent, which is logged; spans are nothing then."""
    with capture_logs() as lines:
        tracing.start(variables)
    assert not tracing.are_made()
    assert [line["event"].rpartition(", and ")[2] for line in lines] == ([reason] if reason else [])
    with tracing.span("nothing") as span:
        span.set("name", 1)
        assert tracing.context() == tracing.ids() == {}
