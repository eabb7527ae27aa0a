"""Trains a reranker: a cross-encoder over the embedding model, from questions, passages and our own near misses."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from ...config.schema import Settings
from ...model.encoder_checkpoint import load_encoder
from ...model.training.encoder_adapter import ENCODER_TARGETS, init_adapter, write_encoder_adapter
from ...model.training.loop import train
from ...model.training.lora import LoraOptions, parameter_count
from ...model.training.options import TrainingOptions
from ...model.training.pair_tokens import PairFormat, PairTokens
from ...model.training.progress import Report, TrainingResult
from ...model.training.ranking_batches import RankingBatches, RankingBatchOptions, RankingData
from ...model.training.ranking_objective import RankingFigures, RankingObjective
from ...rag.models import find_embedding_model
from ..dataset import Progress, Question
from ..errors import AssistantError
from .artefacts import Card, Origin, write_artefacts
from .source import TrainingData, training_data


@dataclass(frozen=True, slots=True)
class RerankerPlan:
    """How a reranker is trained; the bundled one was made so in two epochs.

    ``groups`` questions with ``candidates`` passages each make an update; ``cipher`` is their share that is turned into
    an invented language (`RankingBatchOptions`).
    """

    rank: int = 112
    alpha: float = 224.0
    epochs: int = 3
    groups: int = 64
    candidates: int = 8
    learning_rate: float = 5e-4
    dropout: float = 0.1
    cipher: float = 0.15
    held_out: int = 1000
    limit: int | None = None
    apart_from: tuple[Path, ...] = ()
    seed: int = 0


def train_reranker(
    folder: Path,
    out: Path,
    settings: Settings,
    plan: RerankerPlan,
    origin: Origin,
    *,
    report: Report | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> TrainingResult:
    """Train on the data set in ``folder``; ``out`` gets the adapter, its card and, in ``run/``, what resumes the run.

    Raises:
        WorkStopped: ``cancel`` was set before the training began.
        AssistantError: the data set is missing or malformed, or none of its questions has an answer.
        TrainingError: the run cannot begin or go on; the last good weights are kept.
    """
    # The search may take hours: whatever can be wrong with the plan shows before.
    base = find_embedding_model(settings.rag.embedding_model)
    checkpoint = load_encoder(base.transformer)
    lora = LoraOptions(plan.rank, plan.alpha, ENCODER_TARGETS)
    objective = RankingObjective(checkpoint.config, lora, dropout=plan.dropout)
    batching = RankingBatchOptions(plan.groups, plan.candidates, cipher=plan.cipher, seed=plan.seed)
    options = TrainingOptions(
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        schedule="linear",
        warmup_fraction=0.05,
        weight_decay=0.01,
        seed=plan.seed,
        keep_best=("recall@1", "max"),
    )
    trainable = init_adapter(checkpoint, lora, jax.random.key(plan.seed))
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
    training, apart = _answered(folder, data.training, "to train on"), _answered(folder, data.held_out, "held out")
    batching = replace(batching, groups=min(plan.groups, len(training)))
    texts = tokens.ids([passage.text for passage in data.passages])
    ids = {passage.id: text for passage, text in zip(data.passages, texts, strict=True)}
    # What stands in where too little was retrieved is drawn from the passages given: none that was held out.
    trained_on = {passage.id: ids[passage.id] for passage in data.trained_on}
    batches = RankingBatches(_ranking(data, training, tokens, trained_on), tokens, pairs, batching)
    # All that the reranker will have to put in order, and the same at every evaluation.
    fixed = replace(batching, groups=min(16, len(apart)), candidates=20, cipher=0.0)
    held_out = RankingBatches(_ranking(data, apart, tokens, ids), tokens, pairs, fixed)
    frozen = {name: jax.numpy.asarray(values) for name, values in checkpoint.weights.items()}
    result = train(
        objective,
        trainable,
        frozen,
        batches,
        options,
        out / "run",
        evaluate=RankingFigures(objective, frozen, held_out.epoch(0)),
        report=report,
        cancel=cancel,
        fingerprint={"data": data.digest, "plan": repr(plan), "base": base.name},
    )
    write_encoder_adapter(out, result.best, lora, base.name, pairs, task="SEQ_CLS", head="score")
    facts = {
        "questions": len(training),
        "held out": len(apart),
        "left out: without an answer": len(data.training) - len(training),
        "passages left out: shared with an evaluation": data.shared,
        "parameters": parameter_count(result.best.lora),
        "rank": plan.rank,
        "alpha": plan.alpha,
        "epochs": plan.epochs,
        "questions per update": batching.groups,
        "passages per question": plan.candidates,
        "learning rate": plan.learning_rate,
        "ended": result.reason,
    }
    purpose = (
        "Puts retrieved passages in order: a cross-encoder, low-rank changes to every linear map of the base and a "
        "linear score of the first token's state."
    )
    write_artefacts(out, Card("Reranker", purpose, base.name, origin, facts, result))
    return result


def _answered(
    folder: Path, questions: Sequence[Question], which: Literal["to train on", "held out"]
) -> Sequence[Question]:
    """Those of ``questions`` that have an answer: of the others no passage comes first."""
    answered = [question for question in questions if question.answers]
    if not answered:
        raise AssistantError(
            f"{folder}: none of the {len(questions)} questions {which} has an answer, so no passage can come first: "
            "give some that do, or hold out another number (--held-out)"
        )
    return answered


def _ranking(
    data: TrainingData, questions: Sequence[Question], tokens: PairTokens, passages: Mapping[str, np.ndarray]
) -> RankingData:
    """``passages`` are the tokens of those that may be shown, by id."""
    place = {passage: number for number, passage in enumerate(passages)}
    return RankingData(
        tokens.ids([question.question for question in questions]),
        list(passages.values()),
        np.array([place[question.passage_id] for question in questions]),
        [[place[one] for one in data.retrieved[question.id]] for question in questions],
    )
