"""Trains the reader: the language model, with low-rank changes, on prompts as the assistant builds them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from ...config.schema import Settings
from ...model.adapter_files import LoraFactors, read_adapter, write_adapter
from ...model.adapter_source import record_base
from ...model.open import open_checkpoint
from ...model.tokenizer import TextTokenizer
from ...model.training.batches import BatchOptions, Example, ExampleBatches
from ...model.training.decoder_objective import AnswerFigures, DecoderObjective, init_decoder
from ...model.training.loop import train
from ...model.training.lora import LoraOptions, LoraTree, parameter_count, to_adapter
from ...model.training.objective import Batch
from ...model.training.options import TrainingOptions
from ...model.training.progress import Report, TrainingResult
from ...model.training.stacked_decoder import Run
from ..dataset import Progress, Question
from ..errors import AssistantError
from ..reading import NOT_STATED
from .artefacts import Card, Origin, write_artefacts
from .reader_examples import Mixture, ReaderExample, Tally, Unfit, reader_examples
from .source import TrainingData, training_data

_CPU_BATCH_TOKENS = 2048
_FEWEST_UPDATES = 8


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How a reader is trained; the defaults made the bundled one.

    In every epoch each question gets other passages. ``update_tokens`` is about what one update sees, less where the
    data is so small that an epoch would have fewer than eight updates; examples longer than ``longest`` tokens are
    counted and left out. ``start`` is an adapter's folder to go on from.
    """

    rank: int = 16
    alpha: float = 32.0
    epochs: int = 1
    update_tokens: int = 32768
    longest: int = 1024
    learning_rate: float = 6e-4
    held_out: int = 600
    limit: int | None = None
    apart_from: tuple[Path, ...] = ()
    mixture: Mixture = field(default_factory=Mixture)
    unfit: Unfit = "skip"
    start: Path | None = None
    seed: int = 0


def train_reader(
    folder: Path,
    out: Path,
    settings: Settings,
    plan: ReaderPlan,
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
        ModelError: the language model or the adapter to go on from cannot be read.
        TrainingError: the run cannot begin or go on; the last good weights are kept.
    """
    watched = progress or (lambda *_: None)
    checkpoint = open_checkpoint(settings.model)
    data = training_data(
        folder,
        settings,
        watched,
        held_out=plan.held_out,
        limit=plan.limit,
        seed=plan.seed,
        apart_from=plan.apart_from,
        cancel=cancel,
    )
    tally = Tally()
    tokens = _Tokens(checkpoint.tokenizer())
    epochs = [
        tokens.examples(_drawn(data, data.training, plan, number, tally), len(data.training), watched)
        for number in range(plan.epochs)
    ]
    if not any(epochs):
        raise AssistantError(f"{folder}: no example can be made, {len(tally.unfit)} answers are not in their passage")
    apart = tokens.examples(_drawn(data, data.held_out, plan, 0, Tally()), len(data.held_out), watched)
    batch_tokens, accumulate = _division(plan, epochs[0])
    batching = BatchOptions(tokens=batch_tokens, longest=plan.longest, seed=plan.seed)
    batches = _Epochs([ExampleBatches(examples, batching) for examples in epochs])
    lora = LoraOptions(plan.rank, plan.alpha)
    run = Run(remat=jax.default_backend() != "cpu")
    objective = DecoderObjective(checkpoint.config, lora, run)
    trainable, frozen = init_decoder(checkpoint, lora, jax.random.key(plan.seed), run)
    if plan.start is not None:
        trainable = _taken_up(plan.start, cast("LoraTree", trainable))
    result = train(
        objective,
        trainable,
        frozen,
        batches,
        TrainingOptions(
            epochs=plan.epochs,
            accumulate=accumulate,
            learning_rate=plan.learning_rate,
            schedule="linear",
            warmup_fraction=0.03,
            betas=(0.9, 0.98),
            seed=plan.seed,
            keep_best=("loss", "min"),
            report_every=1 if jax.default_backend() == "cpu" else 10,
        ),
        out / "run",
        evaluate=ReaderFigures(objective, frozen, apart, tokens, batching),
        report=report,
        cancel=cancel,
        fingerprint={"data": data.digest, "plan": repr(plan), "base": checkpoint.fingerprint},
    )
    write_adapter(out, to_adapter(result.best, lora, checkpoint.name))
    record_base(out, checkpoint.name, checkpoint.config)
    write_artefacts(out, _card(plan, data, tally, batches, result, checkpoint.name, origin))
    return result


def _division(plan: ReaderPlan, examples: Sequence[Example]) -> tuple[int, int]:
    """Tokens of a batch, and batches of an update. On a CPU a batch is small, for activations take a lot."""
    fitting = sum(example.length for example in examples if example.length <= plan.longest)
    update = min(plan.update_tokens, max(_CPU_BATCH_TOKENS, fitting // _FEWEST_UPDATES))
    batch = min(update, _CPU_BATCH_TOKENS) if jax.default_backend() == "cpu" else update
    return batch, max(1, update // batch)


class _Epochs:
    """Implements `BatchSource`: other examples in every epoch."""

    def __init__(self, epochs: Sequence[ExampleBatches]) -> None:
        self._epochs = epochs

    @property
    def left_out(self) -> int:
        return sum(epoch.left_out for epoch in self._epochs)

    def steps(self, number: int) -> int:
        return self._epochs[number].steps(number)

    def epoch(self, number: int) -> Iterator[Batch]:
        return self._epochs[number].epoch(number)


class ReaderFigures:
    """Implements `Evaluate`: besides the mean ``loss``, how many examples would be decoded to the letter.

    ``exact`` counts among those whose answer is in a passage, marker included; ``abstains`` among the others.
    """

    def __init__(
        self,
        objective: DecoderObjective,
        frozen: Any,
        examples: Sequence[Example],
        tokens: _Tokens,
        batching: BatchOptions,
    ) -> None:
        stated = [one for one in examples if one.answer_tokens != tokens.not_stated]
        missing = [one for one in examples if one.answer_tokens == tokens.not_stated]
        self._parts = {
            name: AnswerFigures(objective, frozen, ExampleBatches(part, batching).epoch(0))
            for name, part in (("exact", stated), ("abstains", missing), ("loss", examples))
            if part
        }

    def __call__(self, trainable: LoraTree) -> dict[str, float]:
        return {name: part(trainable)["loss" if name == "loss" else "exact"] for name, part in self._parts.items()}


class _Tokens:
    """Examples as tokens, the way generations see them: the prompt whole, then the answer and the end of the turn."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._end = _end_of_turn(tokenizer)
        self.not_stated = (*tokenizer.encode(NOT_STATED), self._end)

    def examples(self, examples: Iterable[ReaderExample], total: int, report: Progress) -> list[Example]:
        made = []
        for number, example in enumerate(examples, start=1):
            prompt = self._tokenizer.encode_prompt(self._tokenizer.render(example.messages))
            made.append(Example(tuple(prompt), (*self._tokenizer.encode(example.answer), self._end)))
            report("making examples", number, total)
        return made


def _end_of_turn(tokenizer: TextTokenizer) -> int:
    """What the chat template puts behind an answer."""
    asked = [{"role": "user", "content": "a"}]
    before = tokenizer.encode(tokenizer.render(asked))  # type: ignore[arg-type]
    after = tokenizer.encode(tokenizer.render([*asked, {"role": "assistant", "content": "b"}]))  # type: ignore[arg-type]
    ends = [token for token in after[len(before) :] if token in tokenizer.end_tokens]
    return ends[0] if ends else min(tokenizer.end_tokens)


def _drawn(
    data: TrainingData, questions: Sequence[Question], plan: ReaderPlan, number: int, tally: Tally
) -> Iterable[ReaderExample]:
    return reader_examples(
        data.passages,
        questions,
        data.retrieved,
        round_=number,
        seed=plan.seed,
        mixture=plan.mixture,
        unfit=plan.unfit,
        tally=tally,
    )


def _taken_up(folder: Path, fresh: LoraTree) -> LoraTree:
    """The factors of the adapter in ``folder``, in place of fresh ones of the same shapes."""
    factors = read_adapter(folder).factors
    for name, pair in fresh.items():
        there = factors.get(name)
        if there is None or [np.shape(one) for one in there] != [np.shape(one) for one in pair]:
            raise AssistantError(f"{folder} cannot be gone on from: its {name} is missing or has another shape")
    return {name: LoraFactors(*map(np.asarray, factors[name])) for name in fresh}


def _card(
    plan: ReaderPlan,
    data: TrainingData,
    tally: Tally,
    batches: _Epochs,
    result: TrainingResult,
    base: str,
    origin: Origin,
) -> Card:
    facts = {
        "questions": len(data.training),
        "held out": len(data.held_out),
        "passages left out: shared with an evaluation": data.shared,
        "examples with an answer": tally.present,
        "examples without": tally.missing,
        "left out: answer not in its passage": len(tally.unfit),
        "left out: too long": batches.left_out,
        "parameters": parameter_count(result.best),
        "rank": plan.rank,
        "alpha": plan.alpha,
        "epochs": plan.epochs,
        "tokens per update, at most": plan.update_tokens,
        "learning rate": plan.learning_rate,
        "ended": result.reason,
    }
    purpose = (
        "Reads numbered passages and answers a question in a few words with the passage's number, or says that it is "
        f"“{NOT_STATED}”."
    )
    return Card("Reader", purpose, base, origin, facts, result)
