"""``/metrics``: counters of this run, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from invad_fast.inspection.part import Result

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)  # seconds


class StationMetrics:
    """Counts from the start of the process on; the ledger has what was before."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._registry = CollectorRegistry()
        self._parts = Counter(
            "invad_fast_parts",
            "Parts by what became of them.",
            ["station", "recipe", "verdict", "reason", "class_name"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "invad_fast_latency_seconds",
            "From trigger to verdict.",
            ["station", "recipe"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._ready = Gauge(
            "invad_fast_ready", "1 where parts are inspected.", ["station"], registry=self._registry
        )

    def add(self, result: Result) -> None:
        """One part more."""
        reason = result.reason.value if result.reason else ""
        self._parts.labels(
            self._station, result.recipe, result.verdict.value, reason, result.class_name or ""
        ).inc()
        self._latency.labels(self._station, result.recipe).observe(result.latency_ms / 1e3)

    def text(self, ready: bool) -> bytes:
        """The page."""
        self._ready.labels(self._station).set(ready)
        return generate_latest(self._registry)
