"""Prompts, ways of sampling, and a gate for the steps of a model, for the tests of the engine."""

from __future__ import annotations

import threading

from capibara.model import Sampling
from capibara.model.engine.options import EngineOptions

PROMPTS = ["the first", "a second prompt, longer than the others are: " + "abc " * 20, "3", "and the last"]
GREEDY = Sampling(max_tokens=24)
DRAWN = Sampling(max_tokens=24, temperature=0.8, top_k=20, seed=7)
PLAIN = EngineOptions(prefix_bytes=0, speculate=False)


class Gate:
    """Lets a model's steps through one by one, and notes them."""

    def __init__(self, runner):
        self.steps: list[tuple[str, int]] = []
        self.open, self.passed = threading.Event(), threading.Semaphore(0)
        self._prefill, self._advance = runner.prefill_together, runner.advance
        runner.prefill_together, runner.advance = self.prefill, self.advance

    def prefill(self, batch, prompts, chunks, *rest):
        self._note("prefill", sum(chunk.count for chunk in chunks))
        return self._prefill(batch, prompts, chunks, *rest)

    def advance(self, batch, *rest):
        self._note("advance", len(batch))
        return self._advance(batch, *rest)

    def _note(self, kind, size):
        self.open.wait(30)
        self.steps.append((kind, size))
        self.passed.release()
