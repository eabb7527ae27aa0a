"""Turns prompts with answers into batches of a few fixed shapes for `DecoderObjective`.

Either one example a row, rows of like length together (buckets), or several examples a row, kept apart by segments
(packing: Krell et al., 2107.02027). The order is drawn anew for each epoch.

Axes: B rows of a batch, T tokens, A targets of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from .errors import BadBatches, InvalidOption
from .objective import Batch

_LENGTH_STEP = 32
_TARGET_STEP = 8
_OPEN_ROWS = 64


class Example(NamedTuple):
    """Tokens of a prompt, and of the answer to learn after it; neither is empty."""

    prompt_tokens: Sequence[int] | Int[np.ndarray, " P"]
    answer_tokens: Sequence[int] | Int[np.ndarray, " N"]

    @property
    def length(self) -> int:
        """Tokens the network sees: the last one of the answer is only predicted."""
        return len(self.prompt_tokens) + len(self.answer_tokens) - 1


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a batch looks like.

    Attributes:
        tokens: of a batch, padding included: rows times their length. A batch has at least ``rows_multiple`` rows.
        longest: tokens of prompt and answer together; longer examples are left out, and counted.
        shapes: how many lengths of rows there are at most; each is compiled once.
        rows_multiple: rows are a multiple of this: the devices that share a batch.
        packed: several examples a row, each row of ``longest`` tokens.
        shuffle: whether each epoch has an order of its own.
        seed: of the order.
    """

    tokens: int = 16384
    longest: int = 1024
    shapes: int = 5
    rows_multiple: int = 1
    packed: bool = False
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "shapes", "rows_multiple"):
            if getattr(self, name) < 1:
                raise InvalidOption(f"{name} is {getattr(self, name)}, but must be >= 1")
        if self.longest < 2:
            raise InvalidOption(f"longest is {self.longest}, but must be >= 2: one token of prompt, one of answer")


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows, their tokens, and their targets."""

    rows: int
    tokens: int
    targets: int


class ExampleBatches:
    """Implements `BatchSource`: batches as `DecoderObjective` takes them. Every example is in each epoch once.

    The last batch of a shape is filled up with rows whose targets weigh nothing.

    Attributes:
        left_out: how many examples were longer than ``options.longest``.
        shapes: those that batches may have.
    """

    def __init__(self, examples: Iterable[Example], options: BatchOptions) -> None:
        """
        Raises:
            BadBatches: an example has an empty prompt or answer, or none is short enough.
        """
        self._options = options
        given = list(examples)
        for number, example in enumerate(given):
            if not len(example.prompt_tokens) or not len(example.answer_tokens):
                raise BadBatches(f"example {number} has an empty prompt or answer: leave it out")
        self._examples = [example for example in given if example.length < options.longest]
        self.left_out = len(given) - len(self._examples)
        if not self._examples:
            raise BadBatches(
                f"none of {len(given)} examples has at most {options.longest} tokens: raise longest, or shorten them"
            )
        self._lengths = np.array([example.length for example in self._examples])
        self._targets = np.array([len(example.answer_tokens) for example in self._examples])
        self.shapes = self._packed_shapes() if options.packed else self._bucket_shapes()
        self._shape_of = np.searchsorted([shape.tokens for shape in self.shapes], self._lengths)

    def __len__(self) -> int:
        return len(self._examples)

    def steps(self, number: int) -> int:
        return len(self._plan(number))

    def epoch(self, number: int) -> Iterator[Batch]:
        for shape, rows in self._plan(number):
            yield self._batch(shape, rows)

    def _plan(self, number: int) -> list[tuple[Shape, list[list[int]]]]:
        """The batches of an epoch: a shape, and for each row the examples in it."""
        random = np.random.default_rng((self._options.seed, number))
        order = random.permutation(len(self)) if self._options.shuffle else np.arange(len(self))
        plan: list[tuple[Shape, list[list[int]]]] = []
        for which, shape in enumerate(self.shapes):
            if self._options.packed:
                rows = self._pack(order, shape)
            else:
                rows = [[index] for index in order[self._shape_of[order] == which].tolist()]
            plan += [(shape, rows[start : start + shape.rows]) for start in range(0, len(rows), shape.rows)]
        if self._options.shuffle:
            plan = [plan[index] for index in random.permutation(len(plan))]
        return plan

    def _pack(self, order: np.ndarray, shape: Shape) -> list[list[int]]:
        """First fit, over the rows begun last."""
        rows: list[list[int]] = []
        room: list[tuple[int, int]] = []
        for index in order.tolist():
            tokens, targets = int(self._lengths[index]), int(self._targets[index])
            begun = range(max(0, len(rows) - _OPEN_ROWS), len(rows))
            row = next((row for row in begun if room[row][0] >= tokens and room[row][1] >= targets), len(rows))
            if row == len(rows):
                rows.append([])
                room.append((shape.tokens, shape.targets))
            rows[row].append(index)
            room[row] = (room[row][0] - tokens, room[row][1] - targets)
        return rows

    def _batch(self, shape: Shape, rows: list[list[int]]) -> Batch:
        B, T, A = shape.rows, shape.tokens, shape.targets
        tokens_BT, segments_BT = np.zeros((B, T), np.int32), np.zeros((B, T), np.int32)
        targets_BA, positions_BA = np.zeros((B, A), np.int32), np.zeros((B, A), np.int32)
        weights_BA = np.zeros((B, A), np.float32)
        for row, members in enumerate(rows):
            token = target = 0
            for segment, index in enumerate(members, start=1):
                prompt, answer = self._examples[index]
                seen, count = slice(token, token + self._examples[index].length), len(answer)
                aims = slice(target, target + count)
                tokens_BT[row, seen] = np.concatenate([np.asarray(prompt), np.asarray(answer)[:-1]])
                segments_BT[row, seen] = segment
                targets_BA[row, aims] = answer
                positions_BA[row, aims] = np.arange(seen.stop - count, seen.stop)
                weights_BA[row, aims] = 1.0
                token, target = seen.stop, aims.stop
        batch = {
            "tokens_BT": tokens_BT,
            "targets_BA": targets_BA,
            "positions_BA": positions_BA,
            "weights_BA": weights_BA,
        }
        # Padding behind a lone example needs no segment: causal attention never looks there.
        return batch | {"segments_BT": segments_BT} if self._options.packed else batch

    def _bucket_shapes(self) -> list[Shape]:
        found, below = [], 0
        for end in _bucket_ends(self._lengths, self._options.shapes):
            here = (self._lengths > below) & (self._lengths <= end)
            found.append(self._shape(min(end, self._options.longest), int(self._targets[here].max())))
            below = end
        return found

    def _packed_shapes(self) -> list[Shape]:
        """One shape, with room for half as many targets again as a full row has on average."""
        usual = self._options.longest * self._targets.sum() / self._lengths.sum()
        return [self._shape(self._options.longest, max(int(self._targets.max()), int(1.5 * usual)))]

    def _shape(self, tokens: int, targets: int) -> Shape:
        multiple = self._options.rows_multiple
        rows = max(multiple, self._options.tokens // tokens // multiple * multiple)
        return Shape(rows, tokens, int(_up(np.array(targets), _TARGET_STEP)))


def _bucket_ends(lengths: np.ndarray, most: int) -> list[int]:
    """The at most ``most`` lengths, multiples of a step, to which rows are padded with the least padding in all."""
    ends, counts = np.unique(_up(lengths, _LENGTH_STEP), return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    # best[j]: what the rows of the first j lengths cost at least, and the places of the lengths they are padded to.
    best: list[tuple[float, list[int]]] = [(0.0, [])] + [(math.inf, [])] * len(ends)
    for _ in range(most):
        best = best[:1] + [
            min((best[i][0] + (before[j] - before[i]) * ends[j - 1], [*best[i][1], j - 1]) for i in range(j))
            for j in range(1, len(before))
        ]
    return [int(ends[place]) for place in best[-1][1]]


def _up(values: np.ndarray, step: int) -> np.ndarray:
    return np.ceil(values / step).astype(int) * step
