"""The walk of one question: condense, retrieve, rank evidence, then read, quote or compose, and check citations."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

from ..config.schema import Settings
from ..model.errors import ModelError
from ..model.protocol import FinishReason, LanguageModel, Sampling
from ..rag.analysis import detect_language
from ..rag.errors import RagError
from ..rag.extractive_reader import ExtractiveReader
from ..rag.library import Library
from ..rag.parts import SearchParts
from ..rag.values import Passage, SearchResult
from .citations import MarkerFilter, cite
from .condense import condense, refers_back
from .conversations import Turn
from .evidence import Evidence, rank_sentences, select
from .extraction import choose, extractor_for
from .grounding import Grounded, ground
from .loading import LoadedModel
from .prompts import Prompt, compose_prompt, reader_prompt
from .reading import ABSTAIN_BIAS, NOT_STATED, READER, parse_reading
from .values import Answer, AnswerEvent, AnswerReady, AnswerUsage, Citation, Retrieved, TextDelta
from .wording import not_found, quoted

_CANCEL_SECONDS = 0.05
"""How often a wait for the loading model looks whether it is to stop."""


@dataclass(slots=True)
class _Draft:
    """An answer in the making."""

    question: str
    language: str | None
    timings: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    abstained: bool = False
    finish_reason: FinishReason = "stop"
    removed_markers: int = 0
    removed_phrases: int = 0
    usage: AnswerUsage = field(default_factory=AnswerUsage)

    def say(self, text: str) -> TextDelta:
        self.pieces.append(text)
        return TextDelta(text)

    def finished(self) -> Answer:
        return Answer(
            "".join(self.pieces),
            self.question,
            tuple(self.citations),
            self.abstained,
            self.finish_reason,
            self.removed_markers,
            self.removed_phrases,
            self.usage,
            self.timings,
            tuple(dict.fromkeys(self.degraded)),
        )


class Answerer:
    """Answers over one library with one snapshot of settings.

    ``model`` is called, and what it gives is waited for, where a language model is needed. Without one, answers are
    quotes alone and ``Answer.degraded`` says why. One object serves one request; it keeps no state between calls.
    """

    def __init__(
        self, library: Library, parts: SearchParts, model: Callable[[], Future[LoadedModel]], settings: Settings
    ) -> None:
        self._library = library
        self._parts = parts
        self._request = model
        self._settings = settings

    def stream(
        self, question: str, collection: str, history: Sequence[Turn], cancel: threading.Event
    ) -> Iterator[AnswerEvent]:
        """Yield `Retrieved`, then `TextDelta` pieces, then `AnswerReady`."""
        began = time.perf_counter()
        language = detect_language(question)
        draft = _Draft(question, language)
        if history and refers_back(question, language):
            model, told = self._model(draft, cancel), self._settings.prompts.condense
            draft.question = condense(question, history, model, language, cancel, told)
        draft.timings["condense"] = time.perf_counter() - began
        settings = self._settings
        result = self._library.search(draft.question, collection, settings.rag, parts=self._parts)
        draft.timings |= result.timings
        draft.degraded += result.degraded
        yield Retrieved(draft.question, result.passages)
        ranked = self._ranked(draft, result.passages)
        if not ranked or ranked[0].similarity < settings.assistant.least_support:
            draft.abstained = True
            yield draft.say(not_found(language))
        elif settings.assistant.answer_style == "compose" and (
            composition := self._prompt(draft, lambda model: self._to_compose(draft, model, result, history), cancel)
        ):
            yield from self._composed(draft, *composition, cancel)
        elif (extractor := extractor_for(settings, self._parts)) is not None:
            yield from self._extracted(draft, extractor, result, ranked)
        elif settings.assistant.answer_style in ("short", "sentence") and (
            reading := self._prompt(draft, lambda model: self._to_read(draft, model, result), cancel)
        ):
            yield from self._read(draft, *reading, ranked, cancel)
        else:
            yield from self._quoted(draft, ranked)
        if cancel.is_set():
            draft.finish_reason = "cancelled"
        draft.timings["total"] = time.perf_counter() - began
        yield AnswerReady(draft.finished())

    def _model(self, draft: _Draft, cancel: threading.Event) -> LanguageModel | None:
        """The model once it is loaded; None where there is none, or where ``cancel`` is set before."""
        loading = self._request()
        while not wait([loading], _CANCEL_SECONDS).done:
            if cancel.is_set():
                return None
        loaded = loading.result()
        if loaded.model is None:
            draft.degraded.append(f"no language model: {loaded.reason}")
        return loaded.model

    def _ranked(self, draft: _Draft, passages: Sequence[Passage]) -> list[Evidence]:
        began = time.perf_counter()
        drawn = passages[: self._settings.assistant.evidence_passages]
        ranked = rank_sentences(draft.question, drawn, self._parts.embedder)
        draft.timings["evidence"] = time.perf_counter() - began
        return ranked

    def _quoted(self, draft: _Draft, ranked: Sequence[Evidence]) -> Iterator[AnswerEvent]:
        """The best sentences, each with its marker."""
        settings = self._settings.assistant
        chosen = select(ranked, settings.evidence_sentences, settings.max_words)
        for marker, evidence in enumerate(chosen, start=1):
            draft.citations.append(cite(marker, evidence.passage, evidence.start, evidence.end, evidence.text))
            blank = " " if marker > 1 else ""
            yield draft.say(f"{blank}{quoted(evidence.text, draft.language)} [{marker}]")
        draft.usage = dataclasses.replace(draft.usage, passages_used=len({one.passage.chunk.id for one in chosen}))

    def _extracted(
        self, draft: _Draft, extractor: ExtractiveReader, result: SearchResult, ranked: Sequence[Evidence]
    ) -> Iterator[AnswerEvent]:
        """The words that the extractive reader points at."""
        began, drawn = time.perf_counter(), self._drawn(result)
        try:
            spans = extractor.read(draft.question, [passage.chunk.text for passage in drawn])
        except RagError as error:
            draft.degraded.append(f"quotes only: {error}")
            yield from self._quoted(draft, ranked)
            return
        draft.timings["read"] = time.perf_counter() - began
        found = choose(drawn, spans, self._settings.assistant.abstain_bias)
        draft.usage = dataclasses.replace(draft.usage, passages_used=len(drawn))
        if found is None:
            draft.abstained = True
            yield draft.say(not_found(draft.language))
        elif not _agreed(found, ranked[0], draft.language):
            draft.removed_phrases += 1
            yield from self._quoted(draft, ranked)
        else:
            yield self._phrased(draft, found)

    def _prompt(
        self, draft: _Draft, build: Callable[[LanguageModel], Prompt], cancel: threading.Event
    ) -> tuple[LanguageModel, Prompt] | None:
        """The model with its prompt; None, and why, where it has no model, no template or no room for a passage."""
        model = self._model(draft, cancel)
        if model is None:
            return None
        try:
            prompt = build(model)
        except ModelError as error:
            draft.degraded.append(f"quotes only: {error}")
            return None
        if not prompt.passages:
            draft.degraded.append(f"quotes only: no passage fits the context of {model.context_tokens} tokens")
            return None
        return model, prompt

    def _to_compose(self, draft: _Draft, model: LanguageModel, result: SearchResult, history: Sequence[Turn]) -> Prompt:
        return compose_prompt(model, draft.question, self._drawn(result), history, self._settings)

    def _to_read(self, draft: _Draft, model: LanguageModel, result: SearchResult) -> Prompt:
        """For all passages that fit the context, each alone."""
        drawn = self._drawn(result)
        alone = [reader_prompt(model, draft.question, [passage], self._settings) for passage in drawn]
        fitting = [passage for prompt in alone for passage in prompt.passages]
        return Prompt(alone[0].messages, tuple(fitting), len(drawn) - len(fitting))

    def _drawn(self, result: SearchResult) -> Sequence[Passage]:
        return result.passages[: self._settings.assistant.evidence_passages]

    def _read(
        self,
        draft: _Draft,
        model: LanguageModel,
        prompt: Prompt,
        ranked: Sequence[Evidence],
        cancel: threading.Event,
    ) -> Iterator[AnswerEvent]:
        """The reader's phrase, if a passage holds it; what it made up is counted, and quotes take its place."""
        began = time.perf_counter()
        try:
            written = self._reading(draft, model, prompt.passages, cancel)
        except ModelError as error:
            draft.degraded.append(f"quotes only: {error}")
            yield from self._quoted(draft, ranked)
            return
        draft.timings["generate"] = time.perf_counter() - began
        if written is None:
            return
        text, passage = written
        if text == NOT_STATED:
            draft.abstained = True
            yield draft.say(not_found(draft.language))
            return
        reading = parse_reading(text)
        others = [one for one in prompt.passages if one is not passage]
        found = ground(reading, [passage, *others], ranked) if reading else None
        if found is None or not _agreed(found, ranked[0], draft.language):
            draft.removed_phrases += 1
            yield from self._quoted(draft, ranked)
        else:
            yield self._phrased(draft, found)

    def _reading(
        self, draft: _Draft, model: LanguageModel, passages: Sequence[Passage], cancel: threading.Event
    ) -> tuple[str, Passage] | None:
        """What the reader writes of the first passage that it says anything of, and that passage; None: cancelled.

        It reads one passage after the other: a small model reads one better than three at once, and the first mostly
        holds the answer. A model without the adapter is asked in the same words.
        """
        adapter, sampling = (READER if READER in model.adapters else None), self._sampling()
        if adapter is not None:
            bias = (NOT_STATED, ABSTAIN_BIAS + self._settings.assistant.abstain_bias)
            sampling = dataclasses.replace(sampling, opening_bias=bias)
        for number, passage in enumerate(passages, start=1):
            prompt = reader_prompt(model, draft.question, [passage], self._settings)
            generation = model.generate(prompt.messages, sampling, cancel, adapter=adapter)
            told, text = generation.usage, generation.text.strip()
            draft.usage = AnswerUsage(
                draft.usage.prompt_tokens + told.prompt_tokens,
                draft.usage.completion_tokens + told.completion_tokens,
                number,
            )
            if generation.finish_reason == "cancelled":
                return None
            if text != NOT_STATED:
                return text, passage
        return NOT_STATED, passages[-1]

    def _phrased(self, draft: _Draft, found: Grounded) -> TextDelta:
        draft.removed_markers += found.moved
        draft.citations.append(cite(1, found.passage, found.start, found.end, found.sentence))
        if self._settings.assistant.answer_style == "short" or found.phrase == " ".join(found.sentence.split()):
            return draft.say(f"{found.phrase} [1]")
        return draft.say(f"{found.phrase}: {quoted(found.sentence, draft.language)} [1]")

    def _composed(
        self, draft: _Draft, model: LanguageModel, prompt: Prompt, cancel: threading.Event
    ) -> Iterator[AnswerEvent]:
        """The model writes from the numbered passages; each marker is checked as it appears."""
        began = time.perf_counter()
        sampling = self._sampling()
        markers = MarkerFilter(prompt.passages, draft.language or "en")
        for delta in model.stream(prompt.messages, sampling, cancel):
            if shown := markers.push(delta.text):
                yield draft.say(shown)
            if delta.finish_reason is not None:
                draft.finish_reason = delta.finish_reason
            if delta.usage is not None:
                draft.usage = AnswerUsage(
                    delta.usage.prompt_tokens,
                    delta.usage.completion_tokens,
                    len(prompt.passages),
                    prompt.passages_left_out,
                    prompt.turns_left_out,
                )
        if rest := markers.finish():
            yield draft.say(rest)
        draft.citations += markers.citations
        draft.removed_markers += markers.removed
        draft.timings["generate"] = time.perf_counter() - began

    def _sampling(self) -> Sampling:
        chosen = self._settings.generation
        return Sampling(
            chosen.max_tokens,
            chosen.temperature,
            chosen.top_k,
            chosen.top_p,
            chosen.min_p,
            chosen.repetition_penalty,
            chosen.seed,
            chosen.stop,
        )


def _agreed(found: Grounded, best: Evidence, language: str | None) -> bool:
    """The reader was trained on English questions: in another language it is believed where late interaction, which
    needs no training, finds the same sentence."""
    same = found.passage.chunk.id == best.passage.chunk.id and found.start <= best.start < found.end
    return language in (None, "en") or same
