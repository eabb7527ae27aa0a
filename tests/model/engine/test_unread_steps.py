"""A step is begun before the tokens of the one before it are read, which changes no token and loses nobody."""

from __future__ import annotations

import functools
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

from capibara.model import Sampling
from capibara.model.engine.job import End, Job
from capibara.model.engine.loop import Engine
from capibara.model.engine.options import EngineOptions
from capibara.model.sampling import choice_of

PROMPTS = [[number, 7, 8, 9] for number in range(10)]
TOGETHER = EngineOptions(sequences=16, prefix_bytes=0, speculate=False)


class Begun:
    """Counts the steps that are begun; one of them cannot be."""

    def __init__(self, runner, fails_at=None):
        self.count, self._fails_at, self._advance = 0, fails_at, runner.advance
        runner.advance = self

    def __call__(self, *given):
        self.count += 1
        if self.count == self._fails_at:
            raise RuntimeError("out of memory")
        return self._advance(*given)


@pytest.fixture
def run(network, tiny):
    """Runs jobs of one length each, together; gives their tokens, ends, and the steps begun when each was told."""

    def run(lengths, ends=frozenset(), fails_at=None, **beside):
        all_there = threading.Event()

        def clock():
            if threading.current_thread().name == "capibara-engine":
                all_there.wait(60)
            return time.monotonic()

        runner, choice = tiny.runner(*network), choice_of(Sampling(), 0)
        begun, engine, told = Begun(runner, fails_at), Engine(TOGETHER, clock), [SimpleQueue() for _ in lengths]
        for prompt, length, queue in zip(PROMPTS, lengths, told, strict=False):
            tell = functools.partial(lambda queue, event: queue.put((event, begun.count)), queue)
            engine.submit(Job(prompt, length, ends, runner, choice, tell, **beside))
        all_there.set()
        return [taken(queue) for queue in told]

    return run


def taken(queue):
    tokens, counts = [], []
    while True:
        event, count = queue.get(timeout=60)
        if isinstance(event, End):
            return tokens, event, counts
        tokens.append(event)
        counts.append(count)


@pytest.fixture
def argmax(network, tiny):
    """The tokens that the network finds likeliest, one by one, each from all before it."""

    def argmax(prompt, count):
        runner, tokens = tiny.runner(*network), list(prompt)
        for _ in range(count):
            tokens.append(int(np.argmax(runner.score(tokens)[-1])))
        return tokens[len(prompt) :]

    return argmax


def test_the_next_step_is_begun_before_a_token_is_told(run):
    ((_, _, counts),) = run([6])
    # The first token is the prompt's; the last one needs no step after it.
    assert counts == [0, 2, 3, 4, 5, 5]


@pytest.mark.parametrize("lengths", [[1], [2], [9], [9, 9], [9, 3, 6, 1], [5] * 10], ids=str)
def test_tokens_are_the_likeliest_whoever_leaves_meanwhile(run, argmax, lengths):
    for prompt, length, (tokens, end, _) in zip(PROMPTS, lengths, run(lengths), strict=False):
        assert (tokens, end.reason) == (argmax(prompt, length), "length")


def test_a_generation_that_the_model_ends_ends_there_though_a_step_was_begun(run):
    ((whole, _, _),) = run([8])
    last = next(place for place, token in enumerate(whole) if place >= 2 and token not in whole[:place])
    ((tokens, end, counts),) = run([8], ends=frozenset([whole[last]]))
    assert (tokens, end.reason) == (whole[:last], "stop")
    assert counts[-1] == last


def test_nothing_is_begun_ahead_where_a_rule_looks_at_each_token(run):
    ((_, _, counts),) = run([6], rule=Anything())
    assert counts == [0, 1, 2, 3, 4, 5]


def test_a_step_that_cannot_be_begun_fails_its_generations_with_the_reason(run):
    for _, end, _ in run([9, 9], fails_at=3):
        assert "out of memory" in str(end.error)


def test_what_was_begun_ahead_is_kept_for_who_begins_alike(network, tiny):
    runner, choice = tiny.runner(*network), choice_of(Sampling(), 0)
    engine, told = Engine(EngineOptions(speculate=False)), SimpleQueue()

    def generate(prompt, most, ends=frozenset()):
        engine.submit(Job(prompt, most, ends, runner, choice, lambda event: told.put((event, 0))))
        return taken(told)

    whole, _, _ = generate(PROMPTS[0], 80)
    again, end, _ = generate([*PROMPTS[0], *whole[:70]], 10)
    assert (again, end.cached_tokens) == (whole[70:], 64)


class Anything:
    """A rule that allows everything."""

    finished = False

    def allowed(self):
        return None

    def forced(self):
        return ()

    def accept(self, token):
        return True
