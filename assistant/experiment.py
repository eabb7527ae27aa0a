"""What the variants of the settings did, side by side."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from dataclasses import dataclass, field

from .values import Answer

_KEPT = 1000
"""Durations that the medians are taken over, per variant."""


@dataclass(frozen=True, slots=True)
class VariantReport:
    """Counts since the start, and medians in seconds over the last thousand answers (None before the first)."""

    variant: str
    requests: int
    answered: int
    abstained: int
    cancelled: int
    failed: int
    degraded: int
    median_seconds: float | None
    p95_seconds: float | None


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    answered: int = 0
    abstained: int = 0
    cancelled: int = 0
    failed: int = 0
    degraded: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))


class Experiment:
    """Counts requests by variant. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, _Counts] = {}

    def began(self, variant: str) -> None:
        with self._lock:
            self._counts.setdefault(variant, _Counts()).requests += 1

    def failed(self, variant: str) -> None:
        with self._lock:
            self._counts[variant].failed += 1

    def answered(self, variant: str, answer: Answer) -> None:
        with self._lock:
            counts = self._counts[variant]
            counts.answered += 1
            counts.abstained += answer.abstained
            counts.cancelled += answer.finish_reason == "cancelled"
            counts.degraded += bool(answer.degraded)
            counts.seconds.append(answer.timings["total"])

    def report(self) -> tuple[VariantReport, ...]:
        """One row for each variant that had a request."""
        with self._lock:
            return tuple(_row(variant, counts) for variant, counts in sorted(self._counts.items()))


def _row(variant: str, counts: _Counts) -> VariantReport:
    seconds = sorted(counts.seconds)
    return VariantReport(
        variant,
        counts.requests,
        counts.answered,
        counts.abstained,
        counts.cancelled,
        counts.failed,
        counts.degraded,
        statistics.median(seconds) if seconds else None,
        seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))] if seconds else None,
    )
