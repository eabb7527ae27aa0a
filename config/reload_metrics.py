"""What monitoring sees of changed settings, in Prometheus' terms: the names are those of its own configuration."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, generate_latest

from .generation import GenerationRecord, ReloadResult


class ReloadMetrics:
    """Gauges and counters of one `LiveSettings`, in a ``registry`` of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "capibara_config"
        self._successful = Gauge(
            f"{name}_last_reload_successful",
            "1 if the last attempt to change settings succeeded",
            registry=self.registry,
        )
        self._succeeded_at = Gauge(
            f"{name}_last_reload_success_timestamp_seconds", "When settings were last taken up", registry=self.registry
        )
        self._reloads = Counter(f"{name}_reloads", "Attempts to change settings", ["result"], registry=self.registry)
        self._generation = Gauge(f"{name}_generation", "Number of the generation in use", registry=self.registry)
        self._hash = Info(name, "Hash of the settings in use", registry=self.registry)

    def started(self, record: GenerationRecord) -> None:
        """The first generation is in use."""
        self._successful.set(1)
        self._succeeded_at.set(record.at)
        self.applied(record)

    def applied(self, record: GenerationRecord) -> None:
        """Another generation is in use."""
        self._generation.set(record.number)
        self._hash.info({"hash": record.hash})

    def ended(self, result: ReloadResult) -> None:
        """An attempt is over; one that found nothing to change has succeeded."""
        self._reloads.labels(result.result).inc()
        self._successful.set(int(result.ok))
        if result.ok:
            self._succeeded_at.set(time.time())

    def exposition(self) -> str:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry).decode()
