"""Pieces of several prompts are run in one step, which changes no token and holds nobody up."""

from __future__ import annotations

import functools
import threading
import time
from queue import SimpleQueue

import pytest

from capibara.model.engine.job import End, Job
from capibara.model.engine.loop import Engine
from capibara.model.engine.options import EngineOptions
from capibara.model.sampling import choice_of

from .generating import DRAWN, GREEDY

LENGTHS = [3, 40, 64, 65, 200, 128, 300, 1]
NOTHING_KEPT = EngineOptions(prefix_bytes=0, speculate=False)


def prompt(length: int) -> list[int]:
    """Prompts of two lengths begin differently."""
    return [(length * place * place + place) % 250 for place in range(1, length + 1)]


@pytest.fixture(scope="module")
def runner(network, tiny):
    return tiny.runner(*network)


@pytest.fixture
def run(runner):
    """Runs jobs, all of which are there when the engine takes up the first; gives who was told what, in order."""

    def run(prompts, options=NOTHING_KEPT, sampling=GREEDY, most=6):
        told, asked = SimpleQueue(), threading.Event()

        def clock():
            if threading.current_thread().name == "capibara-engine":
                asked.wait(60)
            return time.monotonic()

        engine, choice = Engine(options, clock), choice_of(sampling, 0)
        for name, tokens in enumerate(prompts):
            tell = functools.partial(lambda name, event: told.put((name, event)), name)
            engine.submit(Job(tokens, most, frozenset(), runner, choice, tell))
        asked.set()
        events, ended = [], 0
        while ended < len(prompts):
            events.append(told.get(timeout=120))
            ended += isinstance(events[-1][1], End)
        return events, engine.metrics

    return run


def tokens_of(name, events):
    return [event for whose, event in events if whose == name and not isinstance(event, End)]


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (2, 1), (3, 2), (4, 1), (8, 3)])
def test_prompts_that_begin_together_share_steps(run, count, steps):
    _, metrics = run([prompt(41 + number) for number in range(count)])
    assert metrics.prefill_steps == steps
    assert metrics.prompt_tokens == sum(41 + number for number in range(count))


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("options", [NOTHING_KEPT, EngineOptions(speculate=False)], ids=["nothing-kept", "kept"])
def test_prompts_of_all_lengths_get_together_the_tokens_that_each_gets_alone(run, options, sampling):
    prompts = [prompt(length) for length in LENGTHS]
    events, metrics = run(prompts, options, sampling)
    for name, tokens in enumerate(prompts):
        alone, _ = run([tokens], NOTHING_KEPT, sampling)
        assert tokens_of(name, events) == tokens_of(0, alone)
    assert metrics.prefill_steps < sum(-(-length // 256) for length in LENGTHS)


def test_prompts_that_nearly_fill_their_caches_get_the_tokens_that_each_gets_alone(run):
    prompts = [prompt(length) for length in (500, 490, 505, 449)]
    events, _ = run(prompts)
    for name, tokens in enumerate(prompts):
        assert tokens_of(name, events) == tokens_of(0, run([tokens])[0])


def test_what_prompts_begin_with_alike_is_run_once_and_the_rest_together(run):
    prompts = [prompt(96) + [number] * 60 for number in range(4)]
    _, metrics = run(prompts, EngineOptions(speculate=False))
    assert metrics.cached_tokens == 3 * 96
    assert metrics.prefill_steps <= 3


def test_short_prompts_are_answered_while_a_long_one_goes_on(run):
    names = [name for name, _ in run([[5] * 900, *(prompt(length) for length in range(20, 26))])[0]]
    assert max(names.index(short) for short in range(1, 7)) < names.index(0)


def test_a_long_prompt_goes_on_however_many_short_ones_wait(run):
    names = [name for name, _ in run([[5] * 300, *(prompt(length) for length in range(20, 50))])[0]]
    assert names.index(0) < names.index(30)
