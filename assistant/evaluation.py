"""Measures retrieval and answers on a folder of passages and questions, in a data folder of its own.

The folder holds ``passages.jsonl.gz`` (``id``, ``text``) and ``questions.jsonl.gz`` (``id``, ``question``,
``passage_id``, ``answers``). Every passage is indexed as a document; the data folder lies in the cache folder under
the passages' hash, so that a second run finds its embeddings.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..config.paths import cache_dir
from ..config.schema import Settings
from ..rag.embedding import open_embedder
from ..rag.values import IngestReport, Passage, SearchResult
from .assistant import Assistant
from .errors import AssistantError
from .scoring import contains, mean_reciprocal_rank, percentile, recall_at, token_f1

Stage = Literal["dense", "sparse", "fused", "reranked"]
STAGES: tuple[Stage, ...] = ("dense", "sparse", "fused", "reranked")
_DEEPEST = 10
# Deep enough that the best of every single stage is among the fused passages.
_DEPTH_FOR_STAGES = 100

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question; ``passage_id`` names the passage that answers it."""

    id: str
    question: str
    passage_id: str
    answers: tuple[str, ...]


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
    the document's text is the quote. Lengths in words, markers not counted."""

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
    passages = list(_read(folder / "passages.jsonl.gz", ("id", "text")))
    questions = [
        Question(row["id"], row["question"], row["passage_id"], tuple(row["answers"]))
        for row in _read(folder / "questions.jsonl.gz", ("id", "question", "passage_id", "answers"))
        if row["answers"]
    ]
    if sample is not None and sample < len(questions):
        questions = random.Random(seed).sample(questions, sample)
    home = cache_dir() / "evaluation" / _digest(passages, settings)
    chosen = settings.model_dump(exclude={"data_dir"})
    with Assistant.open(home / "data", overrides=chosen) as assistant:
        _index(assistant, passages, home / "passages", report)
        assistant.library.warm_up()
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


def _read(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if missing := [key for key in keys if key not in row]:
                    raise AssistantError(f"{path}:{number}: has no {missing[0]!r}")
                yield row
    except FileNotFoundError as error:
        raise AssistantError(f"{path} is missing: an evaluation needs passages and questions") from error
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise AssistantError(f"{path}: is not gzip'd JSON Lines ({error})") from error


def _digest(passages: Sequence[Mapping[str, Any]], settings: Settings) -> str:
    """Names what determines the stored chunks and vectors."""
    rag = settings.rag
    fingerprint = open_embedder(rag).fingerprint
    fixed = (fingerprint, rag.chunk_tokens, rag.chunk_overlap_sentences, rag.dedup, rag.dedup_threshold)
    whole = hashlib.sha256(repr(fixed).encode())
    for passage in passages:
        whole.update(f"{passage['id']}\0{passage['text']}\0".encode())
    return whole.hexdigest()[:24]


def _index(assistant: Assistant, passages: Sequence[Mapping[str, Any]], folder: Path, report: Progress) -> None:
    """Write each passage into a file of its own, the id as its name, and ingest them."""
    folder.mkdir(parents=True, exist_ok=True)
    for passage in passages:
        if Path(passage["id"]).name != passage["id"]:
            raise AssistantError(f"passage id {passage['id']!r} cannot be a file name: use letters, digits and dashes")
        file = folder / f"{passage['id']}.txt"
        if not file.exists():
            whole = file.with_suffix(".part")
            whole.write_text(passage["text"], encoding="utf-8")
            whole.replace(file)
    done: IngestReport = assistant.ingest(
        folder, progress=lambda state: report("indexing passages", state.files_done, state.files_total)
    )
    if failed := [outcome for outcome in done.files if outcome.status == "failed"]:
        raise AssistantError(f"{len(failed)} passages were not indexed; {failed[0].source}: {failed[0].reason}")


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
        sources = {passage.document.source, *(alias.source for alias in passage.aliases)}
        if any(Path(source).stem == question.passage_id for source in sources):
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
    words = [sum(not word.startswith("[") for word in answer.text.split()) for answer in answers]
    citations = [citation for answer in answers for citation in answer.citations]
    exact = [assistant.library.text(one.document_id, one.start, one.end) == one.quote for one in citations]
    return AnswerScores(
        contains=round(sum(contains(a.text, q.answers) for a, q in pairs) / len(pairs), 4),
        f1=round(sum(token_f1(a.text, q.answers) for a, q in pairs) / len(pairs), 4),
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
