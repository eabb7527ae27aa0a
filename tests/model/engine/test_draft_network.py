"""A second network drafts; whatever it says, the text is that of the large one alone."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from tokenizers import Tokenizer, models

from capibara.config.schema import ModelSettings
from capibara.model import DraftMismatch, Sampling, open_model
from capibara.model.draft_model import DraftModel
from capibara.model.engine.options import EngineOptions

from .generating import DRAWN, GREEDY, PLAIN, PROMPTS

LONG = "a prompt that is read in pieces: " + "".join(chr(33 + index % 90) for index in range(600))
WAYS = {"greedy": GREEDY, "drawn": DRAWN, "penalty": Sampling(max_tokens=24, repetition_penalty=1.4)}


@pytest.fixture(scope="module")
def drafting(tiny, network):
    """The large network of these tests with one that drafts for it: the same, or another one."""
    config, tensors = network
    small = dataclasses.replace(tiny.config(), layers=1, layer_kinds=())
    drafts = {"same": (config, tensors), "another": (small, tiny.tensors(small, seed=5))}

    def make(draft: str = "same", **options):
        checkpoint = tiny.checkpoint(*drafts[draft], name=draft)
        loads = DraftModel(checkpoint, lambda: tiny.runner(*drafts[draft]))
        return tiny.model(config, tensors, draft=loads, engine=EngineOptions(prefix_bytes=0, **options))

    return make


@pytest.fixture
def no_lookup(monkeypatch):
    """All drafts are the network's: no text of these tests repeats as much."""
    monkeypatch.setattr("capibara.model.engine.speculation.LONGEST_MATCH", 100)


@pytest.mark.parametrize("draft", ["same", "another"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prompt", [*PROMPTS[:2], LONG], ids=["short", "longer", "in-pieces"])
def test_a_network_that_drafts_changes_no_text(drafting, alone, draft, way, prompt):
    model = drafting(draft)
    assert model.generate(prompt, WAYS[way]).text == alone(prompt, WAYS[way])
    assert model.metrics.drafted_tokens > 0


@pytest.mark.parametrize("way", ["greedy", "drawn"])
def test_the_same_network_drafts_what_is_taken_also_where_tokens_are_drawn(drafting, no_lookup, way):
    model = drafting()
    model.generate("once", dataclasses.replace(WAYS[way], max_tokens=60))
    metrics = model.metrics
    assert metrics.drafted_tokens >= 40
    assert metrics.accepted_tokens == metrics.drafted_tokens
    assert metrics.decode_steps == metrics.generated_tokens - 1 - metrics.accepted_tokens


def test_a_network_that_drafts_what_is_wrong_is_asked_ever_less(drafting, no_lookup):
    model = drafting("another")
    model.generate("once", Sampling(max_tokens=200))
    metrics = model.metrics
    assert 0 < metrics.drafted_tokens < 100
    assert metrics.accepted_tokens < metrics.drafted_tokens / 4


def test_what_stands_in_the_text_is_drafted_without_the_network(drafting):
    model = drafting("another")
    runner = model._network.draft()
    asked, prefill = [], runner.prefill
    runner.prefill = lambda *given: asked.append(1) or prefill(*given)
    model.generate(PROMPTS[1], Sampling(max_tokens=120))
    assert model.metrics.accepted_tokens > 10
    assert len(asked) < model.metrics.drafted_tokens / 4


def test_drafts_fill_no_more_slots_and_tokens_than_there_are(drafting, alone):
    sampling = Sampling(max_tokens=200)
    model = drafting()
    assert model.generate("ab" * 158, sampling).text == alone("ab" * 158, sampling)
    assert model.metrics.drafted_tokens > 0


def test_generations_that_run_together_and_go_on_alone_change_no_text(drafting, alone):
    model, sampling = drafting(), Sampling(max_tokens=60)
    short = threading.Thread(target=model.generate, args=(PROMPTS[2], GREEDY))
    stream = model.stream(PROMPTS[0], sampling)
    first = next(stream)
    short.start()
    text = first.text + "".join(delta.text for delta in stream)
    short.join()
    assert text == alone(PROMPTS[0], sampling)


def test_closing_a_stream_stops_drafts_too(drafting):
    model = drafting()
    stream = model.stream("once", Sampling(max_tokens=400))
    next(stream)
    stream.close()
    assert model.generate("and again", GREEDY).usage.completion_tokens == 24
    assert model.metrics.cancelled == 1
    assert model.metrics.generated_tokens < 400


def test_nothing_is_drafted_and_no_network_is_loaded_for_it_where_that_is_switched_off(drafting):
    model = drafting(speculate=False)
    model.generate(PROMPTS[1], GREEDY)
    assert model.metrics.drafted_tokens == 0
    assert not model._network.draft.made


def test_a_network_that_fails_to_draft_fails_no_generation(drafting, alone, no_lookup, caplog):
    model = drafting()

    def full(*_):
        raise MemoryError

    model._network.draft().prefill = full
    assert model.generate("once", GREEDY).text == alone("once")
    assert "drafts cannot be made" in caplog.text


def test_a_network_drafts_no_further_than_its_own_context(tiny, network, no_lookup, alone):
    config, tensors = network
    narrow = dataclasses.replace(config, context_tokens=40)
    draft = DraftModel(tiny.checkpoint(narrow, tensors), lambda: tiny.runner(narrow, tensors))
    model, sampling = tiny.model(config, tensors, draft=draft), Sampling(max_tokens=60)
    assert model.generate("once", sampling).text == alone("once", sampling)
    assert 16 <= model.metrics.accepted_tokens <= 36


def test_warming_up_makes_the_steps_of_drafts_ready(drafting):
    model = drafting()
    model.warm_up()
    draft = model._network.draft()
    before = draft.compiled_steps()
    model.generate("once", GREEDY)
    assert draft.compiled_steps() == before


@dataclasses.dataclass(frozen=True)
class OtherTokens:
    """A checkpoint like another one, with another vocabulary."""

    config: object
    tokenizer: object
    name: str = "stranger"


def test_a_network_whose_tokens_differ_is_refused_by_name(tiny, network):
    config, tensors = network
    tokens = tiny.tokenizer()
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    stranger = OtherTokens(config, lambda: dataclasses.replace(tokens, backend=words))
    model = tiny.model(config, tensors, draft=DraftModel(stranger, lambda: tiny.runner(config, tensors)))
    with pytest.raises(DraftMismatch, match=r"stranger cannot draft for tiny: token 0 is 'a' in the one and '!'"):
        model.warm_up()


def test_a_network_with_more_markers_of_its_own_may_draft(tiny, network):
    config, tensors = network
    tokens = tiny.tokenizer()
    tokens.backend.add_special_tokens(["<|more|>"])
    draft = DraftModel(OtherTokens(config, lambda: tokens), lambda: tiny.runner(config, tensors))
    model = tiny.model(config, tensors, draft=draft, engine=PLAIN)
    model.warm_up()
    assert model._network.draft.made


def test_the_bundled_model_drafts_for_itself_what_it_then_writes(bundled_file, bundled_model, tmp_path):
    question = [{"role": "user", "content": "Name three animals of the desert, and say what they eat."}]
    settings, sampling = ModelSettings(draft=str(bundled_file)), Sampling(max_tokens=48)
    model = open_model(settings, cache=tmp_path)
    assert model.generate(question, sampling).text == bundled_model.generate(question, sampling).text
    assert model.metrics.drafted_tokens > 30
    assert model.metrics.accepted_tokens > 0.9 * model.metrics.drafted_tokens
    assert model.metrics.decode_steps < 20
