"""The loss of distillation against its formula, its gradient against numeric differences, and what it teaches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.training.batches import BatchOptions, Example, ExampleBatches
from capibara.model.training.consensus import SoftTargets, soft_targets
from capibara.model.training.decoder_objective import DecoderObjective, init_decoder
from capibara.model.training.distillation_objective import DistillationObjective, divergence, with_teachers
from capibara.model.training.errors import BadBatches, InvalidOption
from capibara.model.training.loop import train
from capibara.model.training.lora import LoraOptions
from capibara.model.training.options import TrainingOptions
from capibara.model.training.stacked_decoder import Run

KEY = jax.random.key(0)
LORA = LoraOptions(rank=4, alpha=8.0)
VOCABULARY = 260
EXAMPLES = [Example([1, 2, 3, 4], [5, 6, 7]), Example([8, 9], [10, 11]), Example([12, 13, 14], [15, 16, 17, 18])]


class Student:
    """A tiny random decoder with factors away from the start, the examples as one batch, and two teachers' logits."""

    def __init__(self, tiny: Any) -> None:
        config, run = tiny.config(), Run(compute=jnp.float32)
        self.decoder = DecoderObjective(config, LORA, run)
        self.begun, self.frozen = init_decoder(tiny.checkpoint(config, tiny.tensors(config)), LORA, KEY, run)
        leaves, self.tree = jax.tree.flatten(self.begun)
        keys = jax.random.split(jax.random.key(7), len(leaves))
        moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        self.moved = jax.tree.unflatten(self.tree, moved)
        options = BatchOptions(tokens=128, shapes=1, shuffle=False)
        (self.batch,) = ExampleBatches(EXAMPLES, options).epoch(0)
        self.rows, self.targets = self.batch["targets_BA"].shape
        rng = np.random.default_rng(3)
        self.teachers = [
            [rng.normal(0, 3, (len(example.answer_tokens), VOCABULARY)) for _ in range(2)] for example in EXAMPLES
        ]

    def soft(self, keep: int = VOCABULARY, temperature: float = 3.0) -> list[SoftTargets | None]:
        return [soft_targets((0.7, 0.3), logits, temperature, keep) for logits in self.teachers]

    def taught(self, keep: int = VOCABULARY, temperature: float = 3.0, weights=(1.0, 0.5, 0.8)) -> dict:
        return dict(with_teachers(self.batch, self.soft(keep, temperature), weights, keep))

    def loss(self, trainable: Any, batch: Any, share: float = 0.5, temperature: float = 3.0) -> Any:
        objective = DistillationObjective(self.decoder, share, temperature)
        return jax.jit(objective.loss)(trainable, self.frozen, batch, KEY)

    def logits(self, trainable: Any) -> np.ndarray:
        return np.asarray(self.decoder.target_logits(trainable, self.frozen, self.batch), np.float64)


@pytest.fixture(scope="module")
def student(tiny: Any) -> Student:
    return Student(tiny)


def norm(parts: list[jax.Array]) -> float:
    return sum(float(jnp.sum(part**2)) for part in parts) ** 0.5


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def test_without_the_teachers_share_it_is_the_decoders_own_loss(student: Student) -> None:
    expected = student.decoder.loss(student.moved, student.frozen, student.batch, KEY)
    np.testing.assert_allclose(student.loss(student.moved, student.batch, share=0.0), expected, rtol=1e-5)


def test_the_loss_is_the_formula_over_the_whole_vocabulary(student: Student) -> None:
    temperature, share, weights = 2.0, 0.3, (1.0, 0.5, 0.8)
    logits, expected = student.logits(student.moved), 0.0
    for row, (example, teachers) in enumerate(zip(EXAMPLES, student.teachers, strict=True)):
        count = len(example.answer_tokens)
        hard = -log_softmax(logits[row, :count])[np.arange(count), example.answer_tokens].sum()
        mixture = sum(w * np.exp(log_softmax(t / temperature)) for w, t in zip((0.7, 0.3), teachers, strict=True))
        soft = (mixture * (np.log(mixture) - log_softmax(logits[row, :count] / temperature))).sum()
        expected += (1 - share) * weights[row] * hard + share * temperature**2 * soft
    total, count = student.loss(student.moved, student.taught(temperature=temperature), share, temperature)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(count) == 9


@pytest.mark.parametrize(("keep", "share"), [(VOCABULARY, 1.0), (8, 0.5)])
def test_gradients_agree_with_numeric_differences(student: Student, keep: int, share: float) -> None:
    batch = student.taught(keep)
    objective = DistillationObjective(student.decoder, share)
    loss = jax.jit(lambda weights: objective.loss(weights, student.frozen, batch, KEY)[0])
    gradients, leaves = jax.tree.leaves(jax.grad(loss)(student.moved)), jax.tree.leaves(student.moved)
    for seed in range(3):
        # A part of the way goes up the gradient: along a random one alone the loss hardly changes.
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        random = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
        way = [a / norm(random) + b / norm(gradients) for a, b in zip(random, gradients, strict=True)]

        def moved(by: float, way: list = way) -> float:
            parts = [leaf + by * part for leaf, part in zip(leaves, way, strict=True)]
            return float(loss(jax.tree.unflatten(student.tree, parts)))

        numeric = (moved(5e-3) - moved(-5e-3)) / 1e-2
        slope = sum(float(jnp.sum(each * part)) for each, part in zip(gradients, way, strict=True))
        assert slope > 0.5
        assert slope == pytest.approx(numeric, rel=1e-2)


def test_the_divergence_is_zero_for_a_student_that_says_the_same_and_never_more_than_the_whole_one() -> None:
    rng = np.random.default_rng(5)
    student, teacher = rng.normal(0, 2, (4, 50)), rng.normal(0, 2, (4, 50))
    found = []
    for keep in (1, 20, 50):
        own, other = soft_targets((1.0,), (student,), 1.0, keep), soft_targets((1.0,), (teacher,), 1.0, keep)
        assert own is not None
        assert other is not None
        logits_BAV = jnp.asarray(student[None], jnp.float32)
        same = divergence(logits_BAV, jnp.asarray(own.tokens[None]), jnp.asarray(own.probs[None]))
        np.testing.assert_allclose(same, np.zeros((1, 4)), atol=2e-6)
        found.append(
            np.asarray(divergence(logits_BAV, jnp.asarray(other.tokens[None]), jnp.asarray(other.probs[None])))
        )
    whole = (np.exp(log_softmax(teacher)) * (log_softmax(teacher) - log_softmax(student))).sum(axis=-1)
    np.testing.assert_allclose(found[-1][0], whole, rtol=1e-4)
    for fewer, more in itertools.pairwise(found):
        assert (fewer <= more + 1e-5).all()


def test_a_target_without_teachers_counts_with_its_whole_cross_entropy(student: Student) -> None:
    taught = with_teachers(student.batch, [None, None, None], (1.0, 1.0, 1.0), 4)
    expected = student.decoder.loss(student.moved, student.frozen, student.batch, KEY)
    np.testing.assert_allclose(student.loss(student.moved, taught, share=0.9), expected, rtol=1e-5)


def test_what_stands_in_padding_changes_no_gradient(student: Student) -> None:
    batch = student.taught(8)
    assert student.rows > len(EXAMPLES)
    other = {**batch, "soft_probs_BAK": batch["soft_probs_BAK"].copy()}
    other["soft_probs_BAK"][student.batch["weights_BA"] == 0] = 0.1

    objective = DistillationObjective(student.decoder)
    slope = jax.jit(jax.grad(lambda weights, batch: objective.loss(weights, student.frozen, batch, KEY)[0]))
    found, same = jax.tree.leaves(slope(student.moved, batch)), jax.tree.leaves(slope(student.moved, other))
    for one, two in zip(found, same, strict=True):
        assert jnp.isfinite(one).all()
        np.testing.assert_allclose(one, two, atol=1e-5)


class Repeated:
    """A `BatchSource` of one batch, over and over."""

    def __init__(self, batch: dict[str, np.ndarray], times: int) -> None:
        self._batch, self._times = batch, times

    def steps(self, number: int) -> int:
        return self._times

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        yield from [self._batch] * self._times


def test_a_student_comes_to_say_what_its_teacher_says(student: Student, tmp_path: Path) -> None:
    """The teacher is the same network with other factors: the student can become it."""
    wanted = student.logits(student.moved)
    soft = [soft_targets((1.0,), (wanted[row, : len(one.answer_tokens)],)) for row, one in enumerate(EXAMPLES)]
    batch = dict(with_teachers(student.batch, soft, (1.0, 1.0, 1.0)))
    objective = DistillationObjective(student.decoder, share=1.0)
    options = TrainingOptions(learning_rate=1e-2, checkpoint_seconds=None)
    result = train(objective, student.begun, student.frozen, Repeated(batch, 60), options, tmp_path)
    before, after = (float(student.loss(each, batch, 1.0)[0]) for each in (student.begun, result.trainable))
    assert after < 0.05 * before


def test_what_cannot_be_is_refused(student: Student) -> None:
    with pytest.raises(InvalidOption, match=r"share is 1\.5"):
        DistillationObjective(student.decoder, share=1.5)
    with pytest.raises(InvalidOption, match="temperature is 0"):
        DistillationObjective(student.decoder, temperature=0)
    with pytest.raises(BadBatches, match="3 soft targets and 2 weights"):
        with_teachers(student.batch, student.soft(), (1.0, 1.0), VOCABULARY)
    with pytest.raises(BadBatches, match=r"row 0 has 3 targets of 8 tokens each, but soft targets are \(2, 8\)"):
        with_teachers(student.batch, student.soft(8)[1:], (1.0, 1.0), 8)
