"""How fast a language model is on this machine: prompts, steps, and requests at once."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .language_model import JaxLanguageModel
from .protocol import Generation, Sampling

_TEXT = "the ferry carried two hundred passengers north while fog made its captain think twice about each mile"

Report = Callable[[str, int, int], None]
"""Told what is measured, how many parts are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """Medians over rounds.

    Attributes:
        prompt_tokens, answer_tokens, requests: what was measured.
        prefill_tokens_per_second: tokens of a prompt per second.
        decode_tokens_per_second: tokens of one answer per second, after the first; with drafts, where they are set.
        first_token_seconds: from when a request is taken up to its first token.
        first_token_again_seconds: the same for the same prompt once more, of which ``kept_tokens`` need not be run.
        together_tokens_per_second: tokens of all answers per second, with ``requests`` at once, prompts included.
        occupancy: mean sequences of a step meanwhile.
        compiled_steps: shapes that were compiled for.
    """

    model: str
    prompt_tokens: int
    answer_tokens: int
    requests: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    first_token_seconds: float
    first_token_again_seconds: float
    kept_tokens: int
    together_tokens_per_second: float
    occupancy: float
    compiled_steps: int


def measure(
    model: JaxLanguageModel,
    prompt_tokens: int = 256,
    answer_tokens: int = 32,
    requests: int = 8,
    rounds: int = 3,
    report: Report = lambda *_: None,
) -> ModelSpeed:
    """The speed of ``model``, which is loaded if it is not yet.

    Raises:
        PromptTooLong: prompt and answer do not fit the context.
    """
    model.warm_up()
    sampling = Sampling(max_tokens=answer_tokens)
    alone: list[Generation] = []
    again: list[Generation] = []
    together: list[float] = []
    occupancy: list[float] = []
    kept = 0
    for number in range(rounds + 1):  # the first round compiles and warms up
        report("one request" if number else "warming up", 2 * number, 2 * rounds + 2)
        prompt = _prompt(model, prompt_tokens, 100 * number)
        alone.append(model.generate(prompt, sampling))
        before = model.metrics
        again.append(model.generate(prompt, sampling))
        kept = model.metrics.cached_tokens - before.cached_tokens
        report(f"{requests} requests at once", 2 * number + 1, 2 * rounds + 2)
        prompts = [_prompt(model, prompt_tokens, 100 * number + place) for place in range(1, requests + 1)]
        before, began = model.metrics, time.perf_counter()
        made = sum(done.usage.completion_tokens for done in model.generate_batch(prompts, sampling))
        together.append(made / (time.perf_counter() - began))
        after = model.metrics
        steps = max(1, after.decode_steps - before.decode_steps)
        occupancy.append((after.decoded_rows - before.decoded_rows) / steps)
    prompt_seconds = statistics.median(made.prefill_seconds for made in alone[1:])
    return ModelSpeed(
        model.name,
        prompt_tokens,
        answer_tokens,
        requests,
        statistics.median(made.usage.prompt_tokens / made.prefill_seconds for made in alone[1:]),
        statistics.median(_pace(made) for made in alone[1:]),
        prompt_seconds,
        statistics.median(made.prefill_seconds for made in again[1:]),
        kept,
        statistics.median(together[1:]),
        statistics.mean(occupancy[1:]),
        model.runner.compiled_steps(),
    )


@contextmanager
def traced(folder: Path) -> Iterator[None]:
    """Record what JAX and Python do meanwhile, into ``folder``.

    JAX's trace is a ``.trace.json.gz`` that https://ui.perfetto.dev and chrome://tracing open; Python's, of the thread
    that asks, is ``python.pstats`` for the module `pstats`.
    """
    import cProfile

    import jax

    folder.mkdir(parents=True, exist_ok=True)
    python = cProfile.Profile()
    with jax.profiler.trace(str(folder)):
        python.enable()
        try:
            yield
        finally:
            python.disable()
    python.dump_stats(folder / "python.pstats")


def _pace(made: Generation) -> float:
    return (made.usage.completion_tokens - 1) / made.decode_seconds if made.decode_seconds else 0.0


def _prompt(model: JaxLanguageModel, tokens: int, seed: int) -> str:
    """A text of so many tokens that neither repeats itself much nor begins like that of another seed."""
    words = random.Random(seed).choices(_TEXT.split(), k=2 * tokens)
    return model.decode(model.encode(f"{seed} {' '.join(words)}")[:tokens])
