"""What is answered, from what, and what the model is told, after each change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capibara.assistant import Answer, AnswerReady, Assistant
from capibara.assistant.reading import NOT_STATED
from capibara.assistant.scoring import without_markers
from capibara.config import ConfigError
from capibara.model.language_model import JaxLanguageModel
from capibara.rag.models import find_embedding_model

from ...rag.adapters import write_adapter
from .observing import Changes, observes
from .test_generation import COST

KEY = "Where does the key of the dry store hang?"
CHESS = "Who won the chess world championship?"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that reach the language model, which answers them."""
    prompts: list[str] = []

    def noting(real: Callable) -> Callable:
        def method(self, prompt, sampling, *rest, **options):
            prompts.append(prompt if isinstance(prompt, str) else self.render(prompt))
            return real(self, prompt, sampling, *rest, **options)

        return method

    monkeypatch.setattr(JaxLanguageModel, "stream", noting(JaxLanguageModel.stream))
    monkeypatch.setattr(JaxLanguageModel, "generate", noting(JaxLanguageModel.generate))
    return prompts


def cited(answer: Answer) -> list[str]:
    """The names of the files that are quoted."""
    return [Path(citation.document).stem for citation in answer.citations]


@observes("assistant.collection")
def test_another_collection_is_searched(assistant: Assistant, change: Changes, tmp_path: Path):
    (tmp_path / "letter.txt").write_text("The key of the dry store hangs in the boathouse since May.")
    assistant.ingest(tmp_path / "letter.txt", "letters")
    before = assistant.ask(KEY)
    change(assistant, {"assistant.collection": "letters"})
    assert (cited(before), cited(assistant.ask(KEY))) == (["key"], ["letter"])
    assistant.remove("letter.txt")


@observes("assistant.answer_style")
def test_the_model_writes_instead_of_quoting(assistant: Assistant, change: Changes):
    quoted = assistant.ask(KEY)
    change(assistant, {"assistant.answer_style": "compose"})
    written = assistant.ask(KEY)
    assert "behind the kitchen door" in quoted.text
    assert (quoted.usage.completion_tokens, written.usage.completion_tokens) == (0, 8)
    assert written.text != quoted.text


@observes("assistant.evidence_sentences")
def test_as_many_sentences_are_quoted_as_are_set(assistant: Assistant, change: Changes):
    question = "What do guests of Casa Garza pay for a night in the village?"
    one = assistant.ask(question)
    change(assistant, {"assistant.evidence_sentences": 2})
    assert (len(cited(one)), len(cited(assistant.ask(question)))) == (1, 2)


@observes("assistant.evidence_passages")
def test_an_answer_draws_from_as_many_passages_as_are_set(assistant: Assistant, change: Changes):
    change(assistant, {"assistant.answer_style": "compose"})
    three = assistant.ask(KEY)
    change(assistant, {"assistant.evidence_passages": 1})
    assert (three.usage.passages_used, assistant.ask(KEY).usage.passages_used) == (3, 1)


@observes("assistant.history_turns")
def test_the_model_is_told_as_many_earlier_turns_as_are_set(assistant: Assistant, change: Changes, told: list[str]):
    change(assistant, {"assistant.answer_style": "compose", "assistant.evidence_passages": 1})
    conversation = assistant.start_conversation()
    for word in ("First", "Second", "Third"):
        assistant.ask(f"{word}: {KEY}", conversation=conversation)
    seen = []
    for turns in (3, 1, 0):
        if turns != assistant.settings.assistant.history_turns:
            change(assistant, {"assistant.history_turns": turns})
        list(assistant.stream(COST, conversation=conversation, keep=False))
        seen.append([word for word in ("First", "Second", "Third") if f"{word}:" in told[-1]])
    assert seen == [["First", "Second", "Third"], ["Third"], []]


@observes("assistant.least_support")
def test_what_is_supported_too_little_is_not_answered(assistant: Assistant, change: Changes):
    answered = assistant.ask(KEY)
    change(assistant, {"assistant.least_support": 1.0})
    assert (answered.abstained, assistant.ask(KEY).abstained) == (False, True)


@observes("assistant.abstain_bias")
def test_the_reader_begins_to_abstain_as_readily_as_is_set(
    assistant: Assistant, change: Changes, reader: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []
    real = JaxLanguageModel.generate

    def noting(self, *given, **options):
        generation = real(self, *given, **options)
        written.append(generation.text)
        return generation

    monkeypatch.setattr(JaxLanguageModel, "generate", noting)
    change(assistant, {"model.reader": str(reader), "assistant.answer_style": "short"})
    for bias in (20.0, -20.0):
        change(assistant, {"assistant.abstain_bias": bias})
        assert assistant.ask(KEY).removed_phrases == 1  # random factors make up what they write
    assert [text[:1] == NOT_STATED[:1] for text in written] == [True, False]


@observes("rag.extractor")
def test_the_adapter_that_is_named_points_at_the_answer(assistant: Assistant, change: Changes, tmp_path: Path):
    base = find_embedding_model("default")
    folder = write_adapter(
        tmp_path / "extractor", base.folder, deviation=0.01, head="qa_outputs", scores=2,
        base_model_name_or_path=base.name,
    )  # fmt: skip
    change(assistant, {"assistant.answer_style": "short", "assistant.abstain_bias": -20.0})
    written = assistant.ask(KEY)
    change(assistant, {"rag.extractor": str(folder)})
    pointed = assistant.ask(KEY)
    assert "generate" in written.timings
    assert "generate" not in pointed.timings
    [citation] = pointed.citations
    assert without_markers(pointed.text) in citation.quote


def test_an_extractor_that_is_not_there_is_refused_by_its_key(assistant: Assistant, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"rag\.extractor.*nowhere"):
        assistant.update({"rag.extractor": str(tmp_path / "nowhere")})


@observes("assistant.max_words")
def test_a_quote_ends_after_as_many_words_as_are_set(assistant: Assistant, change: Changes):
    question = "What is the speed limit on El Terraplén?"
    whole = assistant.ask(question)
    change(assistant, {"assistant.max_words": 10})
    short = assistant.ask(question)
    assert whole.citations[0].quote.startswith(short.citations[0].quote)
    assert len(whole.text.split()) > 20
    assert len(short.text.split()) == 10


@observes("assistant.persona", "prompts.compose")
@pytest.mark.parametrize("key", ["assistant.persona", "prompts.compose"])
def test_the_model_is_told_who_it_is_and_what_to_do(assistant: Assistant, change: Changes, told: list[str], key: str):
    change(assistant, {"assistant.answer_style": "compose"})
    assistant.ask(KEY)
    change(assistant, {key: "You are a heron."})
    assistant.ask(KEY)
    assert ["You are a heron." in prompt for prompt in told] == [False, True]


@observes("prompts.condense")
def test_the_model_is_told_how_to_rewrite_a_question(assistant: Assistant, change: Changes, told: list[str]):
    conversation = assistant.start_conversation()
    assistant.ask(COST, conversation=conversation)
    follow_ups = []
    for instruction in ("", "Ask it again, heron."):
        if instruction:
            change(assistant, {"prompts.condense": instruction})
        told.clear()
        list(assistant.stream("And is breakfast included there?", conversation=conversation, keep=False))
        follow_ups.append(told[0])
    assert ["Ask it again, heron." in prompt for prompt in follow_ups] == [False, True]
    assert all("And is breakfast included there?" in prompt for prompt in follow_ups)


# Variants


@pytest.fixture
def short(assistant: Assistant, change: Changes) -> None:
    """A variant of the settings that answers in ten words, which nobody gets yet."""
    change(assistant, {"variants.short.set.assistant.max_words": 10, "variants.short.share": 0.0})


def lengths(assistant: Assistant, count: int, conversation: str | None = None) -> set[int]:
    """In words, of the answers to ``count`` times the same question."""
    question = "What is the speed limit on El Terraplén?"
    answers = [
        event.answer
        for _ in range(count)
        for event in assistant.stream(question, conversation=conversation, keep=False)
        if isinstance(event, AnswerReady)
    ]
    return {len(answer.text.split()) for answer in answers}


@observes("variants.<name>.share")
def test_a_variant_gets_its_share_of_the_requests(assistant: Assistant, change: Changes, short: None):
    nobody = lengths(assistant, 5)
    change(assistant, {"variants.short.share": 1.0})
    assert min(nobody) > 20
    assert lengths(assistant, 5) == {10}


@observes("assistant.variants_by")
def test_the_requests_of_a_conversation_are_assigned_together_or_each_on_its_own(
    assistant: Assistant, change: Changes, short: None
):
    change(assistant, {"variants.short.share": 0.5})
    conversation = assistant.start_conversation()
    assert len(lengths(assistant, 24, conversation)) == 1
    change(assistant, {"assistant.variants_by": "request"})
    assert len(lengths(assistant, 24, conversation)) == 2  # but for one time in eight million
