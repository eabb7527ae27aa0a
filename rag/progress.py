"""What an ingest run tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from .values import FileOutcome


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run has come. ``chunks`` counts stored ones, ``embedded`` those the model had to embed.

    ``outcome`` is the file that has just been dealt with, if one has: from then on it is stored and retrievable.
    """

    files_done: int
    files_total: int
    bytes_done: int
    bytes_total: int
    chunks: int
    embedded: int
    seconds: float
    current: str = ""
    outcome: FileOutcome | None = None

    @property
    def chunks_per_second(self) -> float:
        return self.chunks / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the rate so far, by bytes; None before anything is done."""
        if self.bytes_done <= 0:
            return None
        return self.seconds * (self.bytes_total - self.bytes_done) / self.bytes_done
