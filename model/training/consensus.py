"""What several teachers say together: one answer, how much each teacher counts, and their mixed distribution.

No algorithm is established under the name of consensus distillation. This one is ours, put together from known parts:
self-training on answers that a majority gives (Huang et al., 2210.11610), teachers who review each other's answers
(2410.03663), and softened targets (Hinton et al., 1503.02531). It is not always an improvement: more teachers can make
a student worse (2602.01064), so measure a student against one that was taught by the best teacher alone.

Axes: S teachers, A tokens of an answer, V vocabulary, K tokens kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .errors import InvalidOption

TEMPERATURE = 3.0
"""At which teachers' and student's distributions are compared."""

Similarity = Callable[[str, str], float]
"""Of two answers, in [0, 1]; symmetric, and 1 for an answer and itself."""


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """What one teacher answers, and each critic's score of it, in [0, 1]; no critics: nothing is held against it."""

    text: str
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for score in self.scores:
            if not 0.0 <= score <= 1.0:
                raise InvalidOption(f"a critic's score of {self.text!r} is {score}, but must be between 0 and 1")

    @property
    def score(self) -> float:
        """The critics' mean."""
        return math.fsum(self.scores) / len(self.scores) if self.scores else 1.0


@dataclass(frozen=True, slots=True)
class ConsensusTarget:
    """What a student is to answer.

    Attributes:
        answer: as the weightiest of the teachers who give it spells it.
        weight: the share, in (0, 1], that those teachers have of the weight of all. It tells how the teachers divide,
            not how good they are: a teacher alone, or one whom the critics believe alone, has all of it.
        teacher_weights: of each teacher, in the order given; together 1.
        teacher: whose spelling it is.
    """

    answer: str
    weight: float
    teacher_weights: tuple[float, ...]
    teacher: int


class SoftTargets(NamedTuple):
    """The likeliest tokens at each place of an answer and their probabilities, of which the rest is missing to 1."""

    tokens: Int[np.ndarray, "A K"]
    probs: Float[np.ndarray, "A K"]


def agreements(texts: Sequence[str], similarity: Similarity) -> tuple[float, ...]:
    """Mean similarity of each answer to all the others; 1 for an only one, which nobody contradicts."""
    if len(texts) == 1:
        return (1.0,)
    return tuple(
        math.fsum(similarity(text, other) for at, other in enumerate(texts) if at != place) / (len(texts) - 1)
        for place, text in enumerate(texts)
    )


def consensus(
    answers: Sequence[TeacherAnswer], similarity: Similarity, canonical: Callable[[str], str] = str.strip
) -> ConsensusTarget | None:
    """The answer with the greatest sum of its teachers' weights; None where every weight is 0, or there is no answer.

    A teacher weighs its agreement with the others times its score by the critics. Answers are equal where their
    ``canonical`` forms are. Of sums, or of teachers, that weigh the same the one named first wins.
    """
    raw = [
        agreement * answer.score
        for agreement, answer in zip(agreements([one.text for one in answers], similarity), answers, strict=True)
    ]
    total = math.fsum(raw)
    if total <= 0:
        return None
    groups: dict[str, list[int]] = {}
    for place, answer in enumerate(answers):
        groups.setdefault(canonical(answer.text), []).append(place)
    chosen = max(groups.values(), key=lambda places: math.fsum(raw[place] for place in places))
    first = max(chosen, key=lambda place: raw[place])
    weights = tuple(each / total for each in raw)
    return ConsensusTarget(answers[first].text, math.fsum(raw[place] for place in chosen) / total, weights, first)


def soft_targets(
    weights: Sequence[float],
    logits: Sequence[Float[np.ndarray, "A V"] | None],
    temperature: float = TEMPERATURE,
    keep: int = 64,
) -> SoftTargets | None:
    """The ``keep`` likeliest tokens of the mixture Σ w · softmax(logits / temperature); None without any logits.

    The teachers' logits are for the consensus answer's tokens, over one vocabulary. Weights are shared out anew among
    the teachers that give logits. int32 and float32 [A, K], likeliest first.

    Raises:
        InvalidOption: an option out of range, or teachers that disagree in the number of weights or in shapes.
    """
    if temperature <= 0 or keep < 1:
        raise InvalidOption(f"temperature is {temperature} and keep is {keep}: they must be > 0 and >= 1")
    if len(weights) != len(logits):
        raise InvalidOption(f"{len(weights)} weights for {len(logits)} teachers: give one each")
    given = [(weight, each) for weight, each in zip(weights, logits, strict=True) if each is not None and weight > 0]
    if not given:
        return None
    if len({each.shape for _, each in given}) > 1:
        raise InvalidOption(
            f"teachers' logits have shapes {sorted({each.shape for _, each in given})}: give tokens of one tokenizer"
        )
    total = math.fsum(weight for weight, _ in given)
    mixed_AV = sum((weight / total * _softmax(each / temperature) for weight, each in given), start=np.float64(0))
    tokens_AK = np.argsort(-mixed_AV, axis=-1, kind="stable")[:, :keep]
    probs_AK = np.take_along_axis(mixed_AV, tokens_AK, axis=-1)
    return SoftTargets(tokens_AK.astype(np.int32), probs_AK.astype(np.float32))


def _softmax(logits_AV: np.ndarray) -> np.ndarray:
    logits_AV = np.asarray(logits_AV, np.float64)
    powers_AV = np.exp(logits_AV - logits_AV.max(axis=-1, keepdims=True))
    return powers_AV / powers_AV.sum(axis=-1, keepdims=True)
