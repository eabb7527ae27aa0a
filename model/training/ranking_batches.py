"""Turns questions, passages and what was retrieved into batches of groups for `RankingObjective`.

A group is one question with the passage that answers it, first, and others that were retrieved for it. A pair is
laid out ``[CLS] question [SEP] passage [SEP]``; a long passage is cut at its end.

Axes: Q questions, G groups of a batch, C candidates of a group, T tokens of a pair, K passages retrieved.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from .errors import BadBatches, InvalidOption
from .length_buckets import Buckets, PlannedOnce
from .objective import Batch
from .pair_tokens import PairFormat, PairTokens


@dataclass(frozen=True, slots=True)
class RankingData:
    """Tokenised texts (`PairTokens.ids`), and who belongs to whom.

    ``gold`` gives each question's answering passage, ``retrieved`` the passages found for it, both as places in
    ``passages``; the gold one among those retrieved is passed over.
    """

    questions: Sequence[Int[np.ndarray, " _"]]
    passages: Sequence[Int[np.ndarray, " _"]]
    gold: Int[np.ndarray, " Q"]
    retrieved: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not len(self.questions) == len(self.gold) == len(self.retrieved):
            raise BadBatches(
                f"{len(self.questions)} questions have {len(self.gold)} answering passages and "
                f"{len(self.retrieved)} lists of retrieved ones: give one of each for every question"
            )
        if not len(self.questions) or len(self.passages) < 2:
            raise BadBatches(
                f"{len(self.questions)} questions over {len(self.passages)} passages cannot be ranked: "
                "give at least one question and two passages"
            )
        for name, places in (("gold", self.gold), ("retrieved", itertools.chain.from_iterable(self.retrieved))):
            for place in places:
                if not 0 <= place < len(self.passages):
                    raise BadBatches(f"{name} names passage {place} of {len(self.passages)}: count from 0")


@dataclass(frozen=True, slots=True)
class RankingBatchOptions:
    """``groups`` of ``candidates`` make a batch; a group is padded to the least of ``lengths`` that holds its pairs.

    ``cipher`` is the share of groups whose word pieces are exchanged for others by one random table for the whole
    group, so that the encoder has to match words by their sameness, as in a language it does not know.
    """

    groups: int = 32
    candidates: int = 8
    lengths: tuple[int, ...] = (96, 128, 160, 192, 224, 256)
    cipher: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.groups < 1 or self.candidates < 2:
            raise InvalidOption(
                f"groups is {self.groups} and candidates {self.candidates}, but must be at least 1 and 2"
            )
        if not 0.0 <= self.cipher <= 1.0:
            raise InvalidOption(f"cipher is {self.cipher}, but must be in [0, 1]")


class RankingBatches:
    """Implements `BatchSource`; the other candidates are drawn anew from those retrieved in every epoch.

    A batch holds ``tokens_GCT`` (int32), ``lengths_GC`` (int32, tokens of each pair) and ``weights_G`` (float32; 0 for
    groups that only fill the batch up). Where too little was retrieved, random passages stand in.
    """

    def __init__(
        self, data: RankingData, tokens: PairTokens, pairs: PairFormat, options: RankingBatchOptions | None = None
    ) -> None:
        self._data, self._tokens, self._pairs = data, tokens, pairs
        self._options = options or RankingBatchOptions()
        self._buckets = Buckets(self._options.lengths, pairs.max_tokens)
        self._retrieved_QK = _retrieved(data, self._options.candidates - 1)
        self._question_lengths_Q = np.minimum([len(ids) for ids in data.questions], pairs.question_tokens)
        self._passage_lengths_P = np.array([len(ids) for ids in data.passages])
        self._plan = PlannedOnce(self._new_plan)

    def steps(self, number: int) -> int:
        return len(self._plan(number).batches)

    def epoch(self, number: int) -> Iterator[Batch]:
        plan = self._plan(number)
        for place, (length, rows_G) in enumerate(plan.batches):
            rng = np.random.default_rng([self._options.seed, number, 1 + place])
            yield self._batch(plan, length, rows_G, rng)

    def _new_plan(self, number: int) -> _Plan:
        rng = np.random.default_rng([self._options.seed, number, 0])
        candidates_QC = self._drawn(rng)
        lengths_QC = self._question_lengths_Q[:, None] + self._passage_lengths_P[candidates_QC] + self._tokens.frame
        lengths_QC = np.minimum(lengths_QC, self._pairs.max_tokens)
        batches = self._buckets.batches(lengths_QC.max(axis=1), lambda _length: self._options.groups, rng)
        return _Plan(candidates_QC, lengths_QC, batches)

    def _drawn(self, rng: np.random.Generator) -> Int[np.ndarray, "Q C"]:
        """Each question's candidates, the gold one first."""
        gold_Q1 = np.asarray(self._data.gold)[:, None]
        others = self._options.candidates - 1
        # Sorting random numbers draws without replacement; what is not there sorts behind all that is.
        order_QK = np.argsort(rng.random(self._retrieved_QK.shape) + (self._retrieved_QK < 0), axis=1)
        drawn_QC = np.take_along_axis(self._retrieved_QK, order_QK[:, :others], axis=1)
        passages = len(self._data.passages)
        random_QC = (gold_Q1 + rng.integers(1, passages, drawn_QC.shape)) % passages
        return np.concatenate([gold_Q1, np.where(drawn_QC < 0, random_QC, drawn_QC)], axis=1)

    def _batch(self, plan: _Plan, length: int, rows_G: Int[np.ndarray, " G"], rng: np.random.Generator) -> Batch:
        options, data = self._options, self._data
        tokens_GCT = np.full((options.groups, options.candidates, length), self._tokens.padding, np.int32)
        lengths_GC = np.ones((options.groups, options.candidates), np.int32)
        lengths_GC[: len(rows_G)] = plan.lengths[rows_G]
        for group, row in enumerate(rows_G.tolist()):
            question = data.questions[row]
            for candidate, passage in enumerate(plan.candidates[row].tolist()):
                pair = self._tokens.pair(question, data.passages[passage], self._pairs)
                tokens_GCT[group, candidate, : len(pair)] = pair
            if rng.random() < options.cipher:
                tokens_GCT[group] = self._tokens.cipher(rng)[tokens_GCT[group]]
        weights_G = (np.arange(options.groups) < len(rows_G)).astype(np.float32)
        return {"tokens_GCT": tokens_GCT, "lengths_GC": lengths_GC, "weights_G": weights_G}


@dataclass(frozen=True, slots=True)
class _Plan:
    """An epoch: every question's candidates and pair lengths, and the batches as (padded length, questions)."""

    candidates: Int[np.ndarray, "Q C"]
    lengths: Int[np.ndarray, "Q C"]
    batches: list[tuple[int, Int[np.ndarray, " _"]]]


def _retrieved(data: RankingData, least: int) -> Int[np.ndarray, "Q K"]:
    """The retrieved passages of each question without the gold one; −1 fills up, to a width of ``least`` at least."""
    width = max(least, *(len(found) for found in data.retrieved))
    retrieved_QK = np.full((len(data.questions), width), -1, np.int64)
    for row, found in enumerate(data.retrieved):
        retrieved_QK[row, : len(found)] = found
    retrieved_QK[retrieved_QK == np.asarray(data.gold)[:, None]] = -1
    return retrieved_QK
