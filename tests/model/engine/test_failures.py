"""What fails ends those whom it concerns, each with an error of its own, and nobody else."""

from __future__ import annotations

import dataclasses
import gc
import logging
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from queue import SimpleQueue

import numpy as np
import pytest

from capibara.model import ConstraintError, GenerationFailed, NumericalError, Sampling, UnknownToken
from capibara.model.engine.job import End, Job
from capibara.model.engine.loop import Engine
from capibara.model.engine.options import EngineOptions
from capibara.model.sampling import choice_of

from .generating import GREEDY, Gate


def test_output_that_is_not_finite_is_an_error_and_no_text(tiny, network):
    config, tensors = network
    model = tiny.model(config, tensors | {"model.norm.weight": np.full(config.width, np.nan, np.float32)})
    with pytest.raises(NumericalError, match="not finite"):
        model.generate("x", GREEDY)


def test_a_step_that_fails_fails_those_it_was_for_and_the_engine_goes_on(make, alone):
    model = make(speculate=False)
    runner, advance = model.runner, model.runner.advance

    def failing(*_):
        runner.advance = advance
        raise RuntimeError("out of memory")

    runner.advance = failing
    with pytest.raises(GenerationFailed, match="RuntimeError: out of memory") as caught:
        model.generate("x", GREEDY)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert model.generate("3", GREEDY).text == alone("3")


def test_a_step_that_fails_gives_each_an_error_of_its_own_and_lets_go_of_their_caches(network, tiny, monkeypatch):
    # The log of a test keeps the frames of the errors that it is told.
    monkeypatch.setattr(logging.getLogger("capibara.model.engine.steps"), "disabled", True)
    runner, choice, told = tiny.runner(*network), choice_of(Sampling(), 0), SimpleQueue()
    gate, engine, held = Gate(runner), Engine(EngineOptions(speculate=False)), []

    def failing(batch, *_):
        held.extend(weakref.ref(progress.seen) for progress in batch)
        raise RuntimeError("out of memory")

    runner.advance = failing
    for number in range(2):
        engine.submit(Job([number, 7], 9, frozenset(), runner, choice, told.put))
    gc.disable()
    gate.open.set()
    ends = [event for event in (told.get(timeout=60) for _ in range(4)) if isinstance(event, End)]
    while engine.metrics.running:
        time.sleep(0.01)
    alive = [each for each in held if each() is not None]
    gc.enable()
    assert len({id(end.error) for end in ends}) == 2
    assert not alive


def test_of_two_equal_jobs_that_wait_one_is_cancelled_and_the_other_is_done(network, tiny):
    runner, choice = tiny.runner(*network), choice_of(Sampling(), 0)
    gate, engine, cancelled = Gate(runner), Engine(EngineOptions(sequences=1)), threading.Event()
    told = [SimpleQueue() for _ in range(3)]
    for queue, given_up in zip(told, (lambda: False, cancelled.is_set, lambda: False), strict=True):
        engine.submit(Job([1, 2, 3], 2, frozenset(), runner, choice, queue.put, given_up=given_up))
    cancelled.set()
    gate.open.set()
    assert [ended(queue).reason for queue in told] == ["length", "cancelled", "length"]


def test_a_job_that_cannot_be_begun_ends_with_the_reason_and_the_others_go_on(network, tiny):
    runner, choice, told = tiny.runner(*network), choice_of(Sampling(), 0), [SimpleQueue() for _ in range(3)]
    engine = Engine()
    for most, queue in zip((2, "many", 2), told, strict=True):
        engine.submit(Job([1, 2, 3], most, frozenset(), runner, choice, queue.put))
    ends = [ended(queue) for queue in told]
    assert [end.error is None for end in ends] == [True, False, True]
    assert "TypeError" in str(ends[1].error)


def ended(queue):
    while not isinstance(event := queue.get(timeout=60), End):
        pass
    return event


def test_a_token_that_the_network_does_not_have_is_refused_by_number_and_text(tiny):
    model = tiny.model(dataclasses.replace(tiny.config(), vocabulary=100))
    with pytest.raises(UnknownToken, match=r"has 100 tokens.*' '.*token 220"):
        model.generate("a, z", GREEDY)


class Faulty:
    """A rule that fails where it is asked for the tokens that may come ``after`` so many."""

    finished = False

    def __init__(self, after):
        self._left = after

    def allowed(self):
        self._left -= 1
        if self._left < 0:
            raise ConstraintError("it became too complex")

    def forced(self):
        return ()

    def accept(self, token):
        return True


class TestNeighbours:
    """What happens to one job of a batch does not touch the others."""

    @pytest.fixture
    def run(self, network, tiny):
        """Runs jobs together; gives each one's tokens and end. The first is given the options."""

        def run(**options):
            runner, choice = tiny.runner(*network), choice_of(Sampling(), 0)
            gate, engine = Gate(runner), Engine(EngineOptions(speculate=False))
            told = [SimpleQueue() for _ in range(3)]
            for number, queue in enumerate(told):
                own = {"deliver": queue.put, **(options if number == 0 else {})}
                engine.submit(Job([number, 7, 8, 9], 12, frozenset(), runner, choice, **own))
            gate.open.set()
            if "deliver" in options:
                del told[0]
            return [self.taken(queue) for queue in told]

        return run

    @staticmethod
    def taken(queue):
        tokens = []
        while not isinstance(event := queue.get(timeout=60), End):
            tokens.append(event)
        return tokens, event

    @pytest.mark.parametrize("after", [0, 3])
    def test_a_rule_that_fails_ends_its_own_generation_alone(self, run, after):
        expected, failing = run(), run(rule=Faulty(after))
        assert isinstance(failing[0][1].error, ConstraintError)
        assert failing[0][0] == expected[0][0][:after]
        assert [tokens for tokens, _ in failing[1:]] == [tokens for tokens, _ in expected[1:]]

    def test_someone_who_fails_at_every_token_is_left_behind(self, run):
        def broken(event):
            raise RuntimeError("nobody is here")

        expected = run()
        assert [tokens for tokens, _ in run(deliver=broken)] == [tokens for tokens, _ in expected[1:]]


def test_an_engine_that_fails_tells_everybody_and_starts_anew(make, alone, caplog, monkeypatch):
    from capibara.model.engine import schedule

    model = make(speculate=False)
    with monkeypatch.context() as broken:
        broken.setattr(schedule, "batches", lambda _: 1 / 0)
        with pytest.raises(GenerationFailed, match="ZeroDivisionError"):
            model.generate("x", GREEDY)
    assert "engine of a language model failed" in caplog.text
    assert model.generate("3", GREEDY).text == alone("3")


@pytest.mark.parametrize("generations", [1, 2])
def test_a_program_that_ends_in_the_midst_of_generations_ends_cleanly(generations):
    code = f"""
        from capibara.model import Sampling, open_model
        model = open_model()
        model.warm_up()
        streams = [model.stream("Once upon a time", Sampling(max_tokens=500)) for _ in range({generations})]
        print([next(stream).text for stream in streams])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
