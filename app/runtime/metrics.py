"""Prometheus metrics: the histograms that are filled as things happen, and helpers for all others."""

from collections.abc import Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the text format that scrapers read."""

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Histograms:
    """How long things take, in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_BUCKETS_S, registry=self.registry)

        self.wait = histogram("spillway_wait_seconds", "From the acceptance of a job to its start.")
        self.service = histogram("spillway_service_seconds", "A worker's time on one job.")
        self.request = histogram(
            "spillway_request_duration_seconds", "Requests not refused by their head alone."
        )


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter without labels."""
    return CounterMetricFamily(name, text, value=value)


def labelled_counter(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """A counter with one label, from its values by the label's."""
    return _filled(CounterMetricFamily(name, text, labels=[label]), values)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def labelled_gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A gauge with one label, from its values by the label's."""
    return _filled(GaugeMetricFamily(name, text, labels=[label]), values)


def _filled(family: F, values: Mapping[str, float]) -> F:
    for key, value in values.items():
        family.add_metric([key], value)
    return family
