"""Trains the reader: the language model, with low-rank changes, on prompts as the assistant builds them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import jax

from ...config.schema import Settings
from ...model.adapter_source import read_fitting
from ...model.open import open_checkpoint
from ...model.tokenizer import TextTokenizer
from ...model.training.batches import BatchOptions, Example, ExampleBatches
from ...model.training.decoder_files import write_decoder_adapter
from ...model.training.decoder_objective import AnswerFigures, DecoderObjective, init_decoder
from ...model.training.loop import train
from ...model.training.lora import LoraOptions, LoraTree, parameter_count, taken_up
from ...model.training.objective import Batch
from ...model.training.options import TrainingOptions
from ...model.training.progress import Report, TrainingResult
from ...model.training.stacked_decoder import Run
from ..dataset import Progress, Question
from ..reading import NOT_STATED
from .artefacts import Card, Origin, write_artefacts
from .reader_examples import Mixture, ReaderExample, Tally, Unfit, reader_examples
from .source import TrainingData, nothing_made, training_data

_CPU_BATCH_TOKENS = 2048
_FEWEST_UPDATES = 8


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How a reader is trained; the bundled one was begun so, and its card tells how it went on.

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
        ModelError: the language model or the adapter to go on from cannot be read, or they do not fit together.
        TrainingError: the run cannot begin or go on; the last good weights are kept.
    """
    watched = progress or (lambda *_: None)
    # The search may take hours: whatever can be wrong with the plan shows before.
    checkpoint = open_checkpoint(settings.model)
    lora, run = LoraOptions(plan.rank, plan.alpha), Run(remat=jax.default_backend() != "cpu")
    objective = DecoderObjective(checkpoint.config, lora, run)
    batching = BatchOptions(tokens=plan.update_tokens, longest=plan.longest, seed=plan.seed)
    options = _options(plan)
    trainable, frozen = init_decoder(checkpoint, lora, jax.random.key(plan.seed), run)
    if plan.start is not None:
        there = read_fitting(plan.start, checkpoint)
        trainable = taken_up(plan.start, there, cast("LoraTree", trainable), lora, "gone on from")
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
    tallies = [Tally() for _ in range(plan.epochs)]
    tokens = _Tokens(checkpoint.tokenizer())
    epochs = [
        tokens.examples(_drawn(data, data.training, plan, number, tally), len(data.training), watched)
        for number, tally in enumerate(tallies)
    ]
    if not any(epochs):
        raise nothing_made(folder, "to train on", len(tallies[0].unfit))
    tally = Tally()
    apart = tokens.examples(_drawn(data, data.held_out, plan, 0, tally), len(data.held_out), watched)
    if not apart:
        raise nothing_made(folder, "held out", len(tally.unfit))
    batch_tokens, accumulate = _division(plan, epochs[0])
    batching, options = replace(batching, tokens=batch_tokens), replace(options, accumulate=accumulate)
    batches = _Epochs([ExampleBatches(examples, batching) for examples in epochs])
    result = train(
        objective,
        trainable,
        frozen,
        batches,
        options,
        out / "run",
        evaluate=ReaderFigures(objective, frozen, apart, tokens, batching),
        report=report,
        cancel=cancel,
        fingerprint={"data": data.digest, "plan": repr(plan), "base": checkpoint.fingerprint},
    )
    write_decoder_adapter(out, result.best, lora, checkpoint)
    card = _card(plan, accumulate * batch_tokens, data, tallies, batches, result, checkpoint.name, origin)
    write_artefacts(out, card)
    return result


def _options(plan: ReaderPlan) -> TrainingOptions:
    """Of a run whose updates are one batch each: `_division` hangs on the examples."""
    return TrainingOptions(
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        schedule="linear",
        warmup_fraction=0.03,
        betas=(0.9, 0.98),
        seed=plan.seed,
        keep_best=("loss", "min"),
        report_every=1 if jax.default_backend() == "cpu" else 10,
    )


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
        """How many examples of the first epoch were too long."""
        return self._epochs[0].left_out

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


def _card(
    plan: ReaderPlan,
    update_tokens: int,
    data: TrainingData,
    tallies: Sequence[Tally],
    batches: _Epochs,
    result: TrainingResult,
    base: str,
    origin: Origin,
) -> Card:
    facts = {
        "questions": len(data.training),
        "held out": len(data.held_out),
        "passages left out: shared with an evaluation": data.shared,
        "examples of the first epoch with an answer": tallies[0].present,
        "examples of the first epoch without": tallies[0].missing,
        "left out: answer not in its passage": len({question for tally in tallies for question in tally.unfit}),
        "left out of the first epoch: too long": batches.left_out,
        "parameters": parameter_count(result.best),
        "rank": plan.rank,
        "alpha": plan.alpha,
        "epochs": plan.epochs,
        "tokens per update, at most": update_tokens,
        "learning rate": plan.learning_rate,
        "ended": result.reason,
    }
    purpose = (
        "Reads numbered passages and answers a question in a few words with the passage's number, or says that it is "
        f"“{NOT_STATED}”."
    )
    return Card("Reader", purpose, base, origin, facts, result)
