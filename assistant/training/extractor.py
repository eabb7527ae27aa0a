"""Trains the extractive reader: a cross-encoder over the embedding model that points at the answer in a passage."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import numpy as np

from ...config.schema import Settings
from ...model.encoder_checkpoint import load_encoder
from ...model.training.encoder_adapter import (
    ENCODER_TARGETS,
    AdapterWeights,
    begun_from,
    init_adapter,
    write_encoder_adapter,
)
from ...model.training.loop import train
from ...model.training.lora import LoraOptions, parameter_count
from ...model.training.options import TrainingOptions
from ...model.training.pair_tokens import PairFormat, PairTokens
from ...model.training.progress import Report, TrainingResult
from ...model.training.span_batches import SpanBatches, SpanBatchOptions, SpanData, TokenSpan
from ...model.training.span_objective import SpanFigures, SpanObjective
from ...rag.encoder_adapter import adapter_base
from ...rag.merged_encoder import check_made_for
from ...rag.models import EmbeddingModel, find_embedding_model
from ..dataset import Progress, Question
from ..errors import AssistantError
from ..scoring import holds, normalised
from .artefacts import Card, Origin, write_artefacts
from .reader_examples import Unfit
from .source import TrainingData, nothing_made, training_data

_BEFORE = re.compile(r"(?:\w[.,-]+|\w)\Z")
_BEHIND = re.compile(r"[.,-]+\w|\w")
"""What makes an answer a part of a longer word or number where it stands at its border."""
_REACH = 8
"""Characters around an answer that are looked at."""


@dataclass(frozen=True, slots=True)
class ExtractorPlan:
    """How an extractive reader is trained; the defaults made the bundled one, with what its card says of questions and
    of where it began.

    ``update_tokens`` is about what one update sees, of which ``batch_tokens`` at a time; ``wrong`` is the chance that a
    question is also shown with a passage that was found for it and does not answer. ``start`` is the folder of another
    adapter over the same encoder to begin from, such as a reranker's: that has learnt to read a question and a passage
    together.
    """

    rank: int = 112
    alpha: float = 224.0
    epochs: int = 1
    update_tokens: int = 6144
    batch_tokens: int = 2048
    learning_rate: float = 4e-4
    wrong: float = 0.25
    held_out: int = 600
    limit: int | None = None
    apart_from: tuple[Path, ...] = ()
    unfit: Unfit = "skip"
    start: Path | None = None
    seed: int = 0


@dataclass(slots=True)
class _Made:
    """Examples, how many of their questions have no answer, and the questions whose answer is not in their passage."""

    data: SpanData
    unanswered: int = 0
    unfit: list[str] = field(default_factory=list)


def train_extractor(
    folder: Path,
    out: Path,
    settings: Settings,
    plan: ExtractorPlan,
    origin: Origin,
    *,
    report: Report | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> TrainingResult:
    """Train on the data set in ``folder``; ``out`` gets the adapter, its card and, in ``run/``, what resumes the run.

    Raises:
        WorkStopped: ``cancel`` was set before the training began.
        AssistantError: the data set is missing or malformed, or an answer is not in its passage and is to be refused.
        ModelError, RagError: the adapter to begin from cannot be read, or is another encoder's.
        TrainingError: the run cannot begin or go on; the last good weights are kept.
    """
    # The search may take hours: whatever can be wrong with the plan shows before.
    base = find_embedding_model(settings.rag.embedding_model)
    checkpoint = load_encoder(base.transformer)
    lora = LoraOptions(plan.rank, plan.alpha, ENCODER_TARGETS)
    objective = SpanObjective(checkpoint.config, lora)
    batching = SpanBatchOptions(plan.batch_tokens, wrong=plan.wrong, seed=plan.seed)
    options = _options(plan)
    trainable = init_adapter(checkpoint, lora, jax.random.key(plan.seed), scores=2)
    if plan.start is not None:
        trainable = _begun(plan.start, trainable, lora, base)
    data = training_data(
        folder,
        settings,
        progress or (lambda *_: None),
        held_out=plan.held_out,
        limit=plan.limit,
        seed=plan.seed,
        apart_from=plan.apart_from,
        cancel=cancel,
    )
    tokens, pairs = PairTokens(base.transformer), PairFormat()
    texts = [passage.text for passage in data.passages]
    passages, offsets = tokens.ids(texts), tokens.offsets(texts)
    made, apart = (
        _spans(data, questions, tokens, passages, offsets, plan.unfit) for questions in (data.training, data.held_out)
    )
    if made is None:
        raise nothing_made(folder, "to train on", len(data.training))
    if apart is None:
        raise nothing_made(folder, "held out", len(data.held_out))
    frozen = {name: jax.numpy.asarray(values) for name, values in checkpoint.weights.items()}
    result = train(
        objective,
        trainable,
        frozen,
        SpanBatches(made.data, tokens, pairs, batching),
        options,
        out / "run",
        # The same windows and passages at every evaluation.
        evaluate=SpanFigures(
            objective, frozen, SpanBatches(apart.data, tokens, pairs, replace(batching, wrong=1.0)).epoch(0)
        ),
        report=report,
        cancel=cancel,
        fingerprint={"data": data.digest, "plan": repr(plan), "base": base.name},
    )
    write_encoder_adapter(out, result.best, lora, base.name, pairs, task="QUESTION_ANS", head="qa_outputs")
    write_artefacts(out, _card(plan, options, data, made, result, base.name, origin))
    return result


def _options(plan: ExtractorPlan) -> TrainingOptions:
    return TrainingOptions(
        epochs=plan.epochs,
        accumulate=max(1, plan.update_tokens // plan.batch_tokens),
        learning_rate=plan.learning_rate,
        schedule="linear",
        warmup_fraction=0.05,
        weight_decay=0.01,
        seed=plan.seed,
        keep_best=("loss", "min"),
    )


def _begun(folder: Path, fresh: AdapterWeights, lora: LoraOptions, base: EmbeddingModel) -> AdapterWeights:
    check_made_for(folder, adapter_base(folder), base)
    return begun_from(folder, fresh, lora)


def _spans(
    data: TrainingData,
    questions: Sequence[Question],
    tokens: PairTokens,
    passages: Sequence[np.ndarray],
    offsets: Sequence[np.ndarray],
    unfit: Unfit,
) -> _Made | None:
    """Examples of ``questions``; None where none can be made. For a question without answers every passage is a wrong
    one, its own among them.
    """
    place = {passage.id: number for number, passage in enumerate(data.passages)}
    normal = [normalised(passage.text) for passage in data.passages]
    kept, spans, left_out = [], [], []
    for question in questions:
        gold = place[question.passage_id]
        found = [
            span for one in question.answers[:1] for span in answer_spans(one, data.passages[gold].text, offsets[gold])
        ]
        if found or not question.answers:
            kept.append(question)
            spans.append(found)
        elif unfit == "refuse":
            raise AssistantError(f"question {question.id!r}: {question.answers[0]!r} is not in its passage")
        else:
            left_out.append(question.id)
    if not kept:
        return None
    wrong = [
        [
            place[one]
            for one in data.retrieved[question.id]
            if one != question.passage_id and not holds(normal[place[one]], question.answers)
        ]
        for question in kept
    ]
    gold = [place[question.passage_id] for question in kept]
    asked = tokens.ids([question.question for question in kept])
    unanswered = sum(not question.answers for question in kept)
    return _Made(SpanData(asked, passages, gold, spans, wrong), unanswered, left_out)


def answer_spans(answer: str, text: str, offsets_T2: np.ndarray) -> list[TokenSpan]:
    """Every place in ``text`` where ``answer`` stands as whole tokens, in order; those cut by a token are passed over.

    Places within a longer word or number ("5" in "3.5", "op" in "co-op") count only where there are no others.
    """
    firsts = {int(begin): token for token, (begin, _) in enumerate(offsets_T2)}
    lasts = {int(end): token for token, (_, end) in enumerate(offsets_T2)}
    alone, within = [], []
    answer = answer.strip()
    begin = text.find(answer) if answer else -1
    while begin >= 0:
        end = begin + len(answer)
        first, last = firsts.get(begin), lasts.get(end)
        if first is not None and last is not None and first <= last:
            joined = _BEFORE.search(text[max(0, begin - _REACH) : begin]) or _BEHIND.match(text, end)
            (within if joined else alone).append(TokenSpan(first, last))
        begin = text.find(answer, begin + 1)
    return alone or within


def _card(
    plan: ExtractorPlan,
    options: TrainingOptions,
    data: TrainingData,
    made: _Made,
    result: TrainingResult,
    base: str,
    origin: Origin,
) -> Card:
    facts = {
        "questions": len(data.training),
        "held out": len(data.held_out),
        "passages left out: shared with an evaluation": data.shared,
        "questions without an answer": made.unanswered,
        "left out: answer not in its passage": len(made.unfit),
        "parameters": parameter_count(result.best.lora),
        "rank": plan.rank,
        "alpha": plan.alpha,
        "epochs": plan.epochs,
        "tokens per update, at most": options.accumulate * plan.batch_tokens,
        "chance of a wrong passage": plan.wrong,
        "learning rate": plan.learning_rate,
        "begun from": plan.start.name if plan.start else "the base",
        "ended": result.reason,
    }
    purpose = (
        "Points at the words of a passage that answer a question, or at none: low-rank changes to every linear map of "
        "the base and two linear scores of each token's state."
    )
    return Card("Extractive reader", purpose, base, origin, facts, result)
