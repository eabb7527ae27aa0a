"""Measures retrieval and answers on a data set (see `dataset`), in a data folder of its own."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.schema import Settings
from ..rag.values import Passage, SearchResult
from .assistant import Assistant
from .dataset import Progress, Question, ids_of, indexed, read_passages, read_questions
from .errors import AssistantError
from .scoring import contains, mean_reciprocal_rank, percentile, recall_at, token_f1, without_markers

Stage = Literal["dense", "sparse", "fused", "reranked"]
STAGES: tuple[Stage, ...] = ("dense", "sparse", "fused", "reranked")
_DEEPEST = 10
# Deep enough that the best of every single stage is among the fused passages.
_DEPTH_FOR_STAGES = 100


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Recall at 1, 3 and 10 and mean reciprocal rank, over the top 10."""

    recall_at_1: float
    recall_at_3: float
    recall_at_10: float
    mrr: float

    @classmethod
    def of(cls, ranks: Sequence[int | None]) -> RetrievalScores:
        """Scores of the gold passages' ranks, from 1; None where a passage was not found."""
        found = [rank if rank is not None and rank <= _DEEPEST else None for rank in ranks]
        at_1, at_3, at_10 = (round(recall_at(found, k), 4) for k in (1, 3, _DEEPEST))
        return cls(at_1, at_3, at_10, round(mean_reciprocal_rank(found), 4))


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """``contains`` and ``f1`` against the references; ``citation_precision``: share of citations whose span in
    the document's text is the quote. Lengths in words. Markers are no part of the text in any of them."""

    contains: float
    f1: float
    citation_precision: float
    citations: int
    mean_words: float
    most_words: int
    abstained: int
    removed_phrases: int
    questions: int
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What an evaluation found."""

    passages: int
    questions: int
    retrieval: RetrievalScores
    latency_ms: Mapping[str, float]
    stages: Mapping[str, RetrievalScores] = field(default_factory=dict)
    answers: AnswerScores | None = None

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON; retrieval scores stand at the top level."""
        from dataclasses import asdict

        report: dict[str, Any] = {"passages": self.passages, "questions": self.questions}
        report |= asdict(self.retrieval) | {"latency_ms": dict(self.latency_ms)}
        if self.stages:
            report["stages"] = {stage: asdict(scores) for stage, scores in self.stages.items()}
        if self.answers is not None:
            report["answers"] = asdict(self.answers)
        return report


def evaluate(
    folder: Path,
    settings: Settings,
    *,
    sample: int | None = None,
    seed: int = 0,
    answers: int = 0,
    stages: bool = False,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Index all passages of ``folder``, then ask ``sample`` of its questions (all by default).

    ``answers`` questions of the sample are also answered end to end. ``settings.data_dir`` is not touched.

    Raises:
        AssistantError: a file is missing or a line is malformed; the message names the line.
    """
    report = progress or (lambda *_: None)
    passages = read_passages(folder)
    questions = [question for question in read_questions(folder) if question.answers]
    if sample is not None and sample < len(questions):
        questions = random.Random(seed).sample(questions, sample)
    with indexed(passages, settings, report) as assistant:
        if questions:  # the first search builds the sparse index
            assistant.search(questions[0].question)
        depth = _DEPTH_FOR_STAGES if stages else _DEEPEST
        results, latencies = _search_all(assistant, questions, depth, report)
        return EvaluationReport(
            len(passages),
            len(questions),
            RetrievalScores.of([_rank(q, r.passages) for q, r in zip(questions, results, strict=True)]),
            _latency(latencies),
            {stage: _stage_scores(stage, questions, results) for stage in STAGES} if stages else {},
            _answer_all(assistant, questions[:answers], report) if answers else None,
        )


def _search_all(
    assistant: Assistant, questions: Sequence[Question], depth: int, report: Progress
) -> tuple[list[SearchResult], list[float]]:
    results, seconds = [], []
    for number, question in enumerate(questions, start=1):
        began = time.perf_counter()
        results.append(assistant.search(question.question, top_k=depth))
        seconds.append(time.perf_counter() - began)
        report("searching", number, len(questions))
    return results, seconds


def _rank(question: Question, passages: Sequence[Passage]) -> int | None:
    """The rank of the gold passage among the documents found; one merged into another counts where it stands."""
    seen: set[str] = set()
    for passage in passages:
        if question.passage_id in ids_of(passage):
            return len(seen - {passage.document.id}) + 1
        seen.add(passage.document.id)
    return None


def _stage_scores(stage: Stage, questions: Sequence[Question], results: Sequence[SearchResult]) -> RetrievalScores:
    ranks = []
    for question, result in zip(questions, results, strict=True):
        scored = [passage for passage in result.passages if getattr(passage.scores, stage) is not None]
        ordered = sorted(scored, key=lambda passage: -(getattr(passage.scores, stage)))
        ranks.append(_rank(question, ordered))
    return RetrievalScores.of(ranks)


def _answer_all(assistant: Assistant, questions: Sequence[Question], report: Progress) -> AnswerScores:
    assistant.warm_up()
    answers = []
    for number, question in enumerate(questions, start=1):
        answers.append(assistant.ask(question.question))
        report("answering", number, len(questions))
    pairs = list(zip(answers, questions, strict=True))
    if not pairs:
        raise AssistantError("no question of the sample has an answer: draw more with --sample")
    said = [without_markers(answer.text) for answer in answers]
    words = [len(text.split()) for text in said]
    scored = list(zip(said, pairs, strict=True))
    citations = [citation for answer in answers for citation in answer.citations]
    exact = [assistant.library.text(one.document_id, one.start, one.end) == one.quote for one in citations]
    return AnswerScores(
        contains=round(statistics.mean(contains(text, one.answers) for text, (_, one) in scored), 4),
        f1=round(statistics.mean(token_f1(text, one.answers) for text, (_, one) in scored), 4),
        citation_precision=sum(exact) / len(exact) if exact else 1.0,
        citations=len(exact),
        mean_words=round(sum(words) / len(words), 1),
        most_words=max(words),
        abstained=sum(answer.abstained for answer in answers),
        removed_phrases=sum(answer.removed_phrases for answer in answers),
        questions=len(pairs),
        latency_ms=_latency([answer.timings["total"] for answer in answers]),
    )


def _latency(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(seconds, percent) * 1000, 1) for percent in (50, 95)}
