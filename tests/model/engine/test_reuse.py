"""What is kept of earlier prompts and what is drafted spares work and changes no text."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from capibara.model import Sampling
from capibara.model.chunks import chunks_of
from capibara.model.sampling import choice_of

from .generating import GREEDY, PROMPTS, Gate


def test_a_prompt_that_begins_like_an_earlier_one_is_run_from_where_they_part(make, alone):
    model, common = make(), "passage " * 30
    model.generate(common + "one?", GREEDY)
    before = model.metrics
    text = model.generate(common + "two?", GREEDY).text
    assert model.metrics.cached_tokens - before.cached_tokens == len(common) // 32 * 32
    assert text == alone(common + "two?")


def test_a_conversation_goes_on_from_its_own_answer(make, alone):
    model, question = make(), "q" * 60
    answer = model.generate(question, GREEDY)
    model.generate(question + answer.text + "more", GREEDY)
    assert model.metrics.cached_tokens >= 64


def test_a_prompt_that_is_kept_whole_still_runs_its_last_token(make, alone):
    model, prompt = make(), "z" * 64
    first, second = (model.generate(prompt, GREEDY).text for _ in range(2))
    assert first == second == alone(prompt)
    assert model.metrics.cached_tokens == 32


def test_penalties_count_tokens_that_were_not_run_again(make, alone):
    model, prompt, penal = make(), "w" * 40 + "abc", Sampling(max_tokens=24, repetition_penalty=50.0)
    model.generate(prompt, GREEDY)
    assert model.generate(prompt, penal).text == alone(prompt, penal)
    assert model.metrics.cached_tokens == 32


def test_drafts_that_are_right_are_taken_several_at_once(make, alone):
    model, sampling = make(), Sampling(max_tokens=120)
    assert model.generate(PROMPTS[1], sampling).text == alone(PROMPTS[1], sampling)
    metrics = model.metrics
    assert metrics.accepted_tokens > 10
    assert metrics.decode_steps < 119 - metrics.accepted_tokens + 1


@pytest.mark.parametrize("wrong", range(8))
def test_a_draft_is_taken_up_to_its_first_wrong_token(network, tiny, wrong):
    config, tensors = network
    runner, prompt, greedy = tiny.runner(config, tensors), [5, 6, 7, 8], choice_of(Sampling(), 0)
    progress, token = runner.prefill(runner.begin(512), prompt, chunks_of(4)[0], greedy)
    made = [int(token)]
    for position in range(4, 14):
        (progress,), tokens = runner.advance([progress], [position], [greedy])
        made.append(int(tokens[0]))
    drafts = made[1:8]
    if wrong < len(drafts):
        drafts[wrong] = (drafts[wrong] + 1) % config.vocabulary
    progress, _ = runner.prefill(runner.begin(512), prompt, chunks_of(4)[0], greedy)
    progress, verified = runner.verify(progress, drafts, 4, greedy)
    accepted = int(verified.accepted)
    assert accepted == min(wrong, 7)
    assert np.asarray(verified.tokens)[: accepted + 1].tolist() == made[1 : accepted + 2]
    (progress,), tokens = runner.advance([progress], [4 + accepted + 1], [greedy])
    assert int(tokens[0]) == made[accepted + 2]


def test_a_prefix_that_cannot_be_kept_fails_no_generation(make, alone, caplog):
    model = make()
    model.warm_up()

    def full(*_):
        raise MemoryError

    model.runner.read_block = full
    prompt = "k" * 80
    assert model.generate(prompt, GREEDY).text == alone(prompt)
    assert "could not be kept" in caplog.text


def test_prefixes_beyond_the_room_push_out_older_ones_and_change_no_text(make, alone, network):
    config, _ = network
    block = 2 * 4 * config.layers * config.kv_heads * 32 * config.head_width
    model = make(prefix_bytes=3 * block)
    prompts = [letter * 70 for letter in "aabca"]
    assert [model.generate(prompt, GREEDY).text for prompt in prompts] == [alone(prompt) for prompt in prompts]
    assert model.metrics.cached_tokens == 64  # of the second prompt; the last one's were pushed out


def test_prompts_with_a_common_beginning_that_come_together_run_it_once(make):
    model = make(speculate=False)
    gate, common = Gate(model.runner), "passage " * 60
    threads = [threading.Thread(target=model.generate, args=(common + letter, GREEDY)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    while model.metrics.waiting + model.metrics.running < len(threads):
        time.sleep(0.01)
    gate.open.set()
    for thread in threads:
        thread.join()
    assert sum(count for kind, count in gate.steps if kind == "prefill") < 2 * len(common)


@pytest.mark.parametrize(
    ("sampling", "prompt"),
    [
        (Sampling(max_tokens=60, repetition_penalty=1.3), PROMPTS[1]),
        (Sampling(max_tokens=200), "ab" * 158),  # up to the last slots of its caches
    ],
    ids=["penalty", "full-caches"],
)
def test_drafts_change_no_text(make, alone, sampling, prompt):
    model = make()
    assert model.generate(prompt, sampling).text == alone(prompt, sampling)
    assert model.metrics.drafted_tokens > 0
