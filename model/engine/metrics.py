"""What an engine has done, counted."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .job import End


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """Counts since an engine began, seconds summed over jobs, and (``waiting``, ``running``) jobs at this moment.

    Each job that is over is one of ``finished``, ``failed`` and ``cancelled``. ``cached_tokens`` of the
    ``prompt_tokens`` were not run, the others in ``prefill_steps``; of the ``drafted_tokens``, ``accepted_tokens`` were
    right.
    """

    waiting: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    decoded_rows: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    @property
    def occupancy(self) -> float:
        """Mean sequences of a decode step; 0 before the first."""
        return self.decoded_rows / self.decode_steps if self.decode_steps else 0.0

    def after(self, end: End) -> EngineMetrics:
        """With one more job that is over."""
        failed = end.error is not None
        cancelled = end.reason == "cancelled" and not failed
        return dataclasses.replace(
            self,
            finished=self.finished + (not failed and not cancelled),
            failed=self.failed + failed,
            cancelled=self.cancelled + cancelled,
            prompt_tokens=self.prompt_tokens + end.prompt_tokens,
            cached_tokens=self.cached_tokens + end.cached_tokens,
            generated_tokens=self.generated_tokens + end.generated_tokens,
            drafted_tokens=self.drafted_tokens + end.drafted_tokens,
            accepted_tokens=self.accepted_tokens + end.accepted_tokens,
            queue_seconds=self.queue_seconds + end.queue_seconds,
            prefill_seconds=self.prefill_seconds + end.prefill_seconds,
            decode_seconds=self.decode_seconds + end.decode_seconds,
        )
