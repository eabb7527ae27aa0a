"""Generations that run together say what each would say alone, join and leave between steps, and end as they should."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

from capibara.model import DeadlineExceeded, Overloaded, PromptTooLong, Sampling
from capibara.model.engine.job import End, Job
from capibara.model.engine.loop import Engine
from capibara.model.engine.options import EngineOptions
from capibara.model.sampling import choice_of

from .generating import DRAWN, GREEDY, PROMPTS, Gate


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("options", [{"speculate": False, "prefix_bytes": 0}, {}], ids=["plain", "all-techniques"])
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_a_batch_says_what_each_prompt_says_alone(make, alone, count, options, sampling):
    prompts = [PROMPTS[number % len(PROMPTS)] for number in range(count)]
    together = [made.text for made in make(**options).generate_batch(prompts, sampling)]
    assert together == [alone(prompt, sampling) for prompt in prompts]


def test_one_step_serves_all_that_decode(make):
    model = make(speculate=False)
    gate = Gate(model.runner)
    streams = [model.stream(prompt, GREEDY) for prompt in PROMPTS]
    threads = [threading.Thread(target=lambda stream=stream: list(stream)) for stream in streams]
    for thread in threads:
        thread.start()
    while model.metrics.waiting + model.metrics.running < len(PROMPTS):
        time.sleep(0.01)
    gate.open.set()
    for thread in threads:
        thread.join()
    assert ("advance", 4) in gate.steps
    assert model.metrics.occupancy > 2
    assert model.metrics.finished == len(PROMPTS)


def test_a_generation_joins_between_the_steps_of_another_and_leaves_without_ending_it(make, alone):
    model = make(speculate=False)
    long = model.stream(PROMPTS[0], Sampling(max_tokens=200))
    pieces = [next(long).text]
    short = model.generate(PROMPTS[2], Sampling(max_tokens=3))
    assert model.metrics.running == 1
    pieces += [delta.text for delta in long]
    assert short.text == alone(PROMPTS[2], Sampling(max_tokens=3))
    assert "".join(pieces) == alone(PROMPTS[0], Sampling(max_tokens=200))


def test_a_long_prompt_holds_others_up_for_one_piece_at_a_time(make):
    model = make(speculate=False)
    gate = Gate(model.runner)
    gate.open.set()
    first = model.stream("x", Sampling(max_tokens=1000))
    next(first)
    del gate.steps[:]
    model.generate("y" * 700, Sampling(max_tokens=1))
    pieces = [number for number, step in enumerate(gate.steps) if step[0] == "prefill"]
    first.close()
    assert [gate.steps[number][1] for number in pieces] == [128] * 5 + [60]
    assert gate.steps.count(("prefill", 128)) == 5
    assert all(after - before >= 2 for before, after in itertools.pairwise(pieces))


def test_mixed_lengths_compile_a_bounded_number_of_steps(tiny):
    config = tiny.config(context=1801)  # networks of one structure share their steps; no other is like this
    model = tiny.model(config, tiny.tensors(config))
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5, 8, 13):
        prompts = ["ab" * int(length) for length in rng.integers(1, 500, count)]
        list(model.generate_batch(prompts, Sampling(max_tokens=20)))
    # Chunks of 32 to 256 tokens, of 64 of two and four prompts, batches of 1 to 8, and drafts, for caches of 512, 1,024
    # and 2,048 slots.
    assert model.runner.compiled_steps() <= 3 * (4 + 2 + 4 + 1)


def test_more_jobs_than_may_wait_are_refused_and_the_others_are_done(make):
    model = make(sequences=1, queue=2)
    gate = Gate(model.runner)
    started = [model.stream("a", GREEDY) for _ in range(3)]
    results, threads = [], []
    for stream in started:
        threads.append(threading.Thread(target=lambda stream=stream: results.append(list(stream))))
        threads[-1].start()
        while model.metrics.waiting + model.metrics.running < len(threads):
            time.sleep(0.01)
    with pytest.raises(Overloaded, match="generations wait already"):
        model.generate("a", GREEDY)
    gate.open.set()
    for thread in threads:
        thread.join()
    assert [deltas[-1].finish_reason for deltas in results] == ["length"] * 3
    assert model.metrics.refused == 1


def test_of_ten_thousand_jobs_at_once_those_that_may_wait_are_done_and_the_others_refused(network, tiny):
    runner, told = tiny.runner(*network), SimpleQueue()
    gate, engine = Gate(runner), Engine(EngineOptions(queue=16))
    job = Job([1, 2, 3], 2, frozenset(), runner, choice_of(Sampling(), 0), told.put)
    refused = 0
    for _ in range(10_000):
        try:
            engine.submit(job)
        except Overloaded:
            refused += 1
    gate.open.set()
    ends = 0
    while ends < 10_000 - refused:
        ends += isinstance(told.get(), End)
    assert ends == 16 + EngineOptions().sequences
    assert engine.metrics.refused == refused


def test_a_cancelled_generation_ends_and_its_neighbour_goes_on(make, alone):
    model, cancel = make(speculate=False), threading.Event()
    stream = model.stream(PROMPTS[0], Sampling(max_tokens=1900), cancel)
    next(stream)
    neighbour = model.stream(PROMPTS[2], GREEDY)
    first = next(neighbour)
    cancel.set()
    *_, last = stream
    assert last.finish_reason == "cancelled"
    assert first.text + "".join(delta.text for delta in neighbour) == alone(PROMPTS[2])


def test_a_stream_that_nobody_reads_on_is_given_up(make):
    model = make(speculate=False)
    stream = model.stream("x", Sampling(max_tokens=1900))
    next(stream)
    stream.close()
    while model.metrics.running:
        time.sleep(0.01)
    assert model.metrics.cancelled == 1
    assert model.metrics.generated_tokens < 1900


def test_a_deadline_ends_a_generation_with_an_error(make):
    model = make(speculate=False)
    stream = model.stream("x", Sampling(max_tokens=2000), deadline_seconds=0.3)
    with pytest.raises(DeadlineExceeded, match="deadline"):
        list(stream)
    assert model.metrics.failed == 1


@pytest.mark.parametrize("way", ["deadline", "cancelled"])
def test_a_job_that_waits_ends_while_the_one_before_it_still_runs(make, way):
    model, cancel = make(sequences=1, speculate=False), threading.Event()
    first = model.stream("x", Sampling(max_tokens=2000))
    next(first)
    if way == "deadline":
        with pytest.raises(DeadlineExceeded):
            model.generate("y", GREEDY, deadline_seconds=0.0)
    else:
        cancel.set()
        assert model.generate("y", GREEDY, cancel).finish_reason == "cancelled"
    assert model.metrics.running == 1
    first.close()


def test_a_job_that_comes_when_the_engine_has_just_run_out_of_work_is_run_by_one_thread(network, tiny):
    runner, told, threads = tiny.runner(*network), SimpleQueue(), set()
    engine, choice, advance = Engine(EngineOptions(speculate=False)), choice_of(Sampling(), 0), runner.advance
    runner.advance = lambda *arguments: threads.add(threading.get_ident()) or advance(*arguments)
    begun = threading.Event()

    def heard(event):
        begun.set()
        told.put(event)

    def ask_for_another(_):
        engine.submit(Job([1, 2, 3], 200, frozenset(), runner, choice, heard))
        begun.wait(60)

    engine.submit(Job([1], 1, frozenset(), runner, choice, ask_for_another, given_up=lambda: True))
    events = [told.get(timeout=60)]
    while not isinstance(events[-1], End):
        events.append(told.get(timeout=60))
    assert (len(events) - 1, events[-1].reason, len(threads)) == (200, "length", 1)


@pytest.mark.parametrize("wrong", [{"sequences": 0}, {"queue": 0}, {"prefix_bytes": -1}])
def test_an_engine_without_room_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EngineOptions(**wrong)


def test_a_batch_waits_for_room_where_others_fill_the_queue(make, alone):
    model = make(sequences=2, queue=1)
    made = [each.text for each in model.generate_batch(["a", "b", "c", "d", "e"], GREEDY)]
    assert made == [alone(prompt) for prompt in "abcde"]


def test_a_stop_string_ends_the_text_before_it(make, alone):
    whole = alone(PROMPTS[0])
    cut = whole[5:8]
    made = make().generate(PROMPTS[0], Sampling(max_tokens=24, stop=(cut,)))
    assert (made.text, made.finish_reason) == (whole[: whole.index(cut)], "stop")


def test_coroutines_run_together_and_say_what_each_says_alone(make, alone):
    model = make()

    async def all_of_them():
        return await asyncio.gather(*(model.generate_async(prompt, GREEDY) for prompt in PROMPTS))

    assert [made.text for made in asyncio.run(all_of_them())] == [alone(prompt) for prompt in PROMPTS]


def test_cancelling_a_task_gives_its_generation_up(make):
    model = make(speculate=False)

    async def cancelled():
        task = asyncio.create_task(model.generate_async("x", Sampling(max_tokens=2000)))
        while not model.metrics.running:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    while model.metrics.running:
        time.sleep(0.01)
    assert model.metrics.cancelled == 1


def test_a_prompt_that_does_not_fit_is_refused_before_anything_runs(make):
    model = make()
    with pytest.raises(PromptTooLong):
        list(model.generate_batch(["a", "b" * 3000], GREEDY))
    assert model.metrics.prompt_tokens == 0


def test_the_memory_of_caches_that_were_let_go_of_is_given_back_now_and_then(make, monkeypatch):
    from capibara.model.engine import loop

    model, given_back = make(speculate=False), []
    cache = model.runner.block_bytes(512)
    monkeypatch.setattr(loop, "_RETURNED_AT_ONCE", 2 * cache)
    monkeypatch.setattr(loop, "return_freed", lambda: given_back.append(model.metrics.finished))
    for _ in range(5):
        model.generate("abcd", Sampling(max_tokens=2))
    while model.metrics.running:
        time.sleep(0.01)
    assert given_back == [2, 4]


def test_metrics_count_what_was_done(make):
    model = make(speculate=False)
    model.generate("abcd", Sampling(max_tokens=5))
    metrics = model.metrics
    assert (metrics.finished, metrics.prompt_tokens, metrics.generated_tokens) == (1, 4, 5)
    assert metrics.decode_steps == metrics.decoded_rows == 4
    assert metrics.occupancy == 1.0
    assert metrics.prefill_seconds > 0
    assert metrics.decode_seconds > 0
