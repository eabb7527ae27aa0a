"""Turns questions with answers that stand in passages into batches for `SpanObjective`.

A row is a question with one passage, laid out ``[CLS] question [SEP] passage [SEP]``: the passage that answers it, or
one that was retrieved for it and does not. Of a passage that is too long, a row holds a window.

Axes: Q questions, B rows of a batch, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from .errors import BadBatches, InvalidOption
from .length_buckets import Buckets, PlannedOnce
from .objective import Batch
from .pair_tokens import PairFormat, PairTokens


class TokenSpan(NamedTuple):
    """First and last token of an answer, both counted within their passage."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SpanData:
    """Tokenised texts (`PairTokens.ids`), and where the answers stand.

    ``gold`` gives each question's passage as a place in ``passages``, ``spans`` every place in it where the answer
    stands, in order and none within another; there is none where the passage does not answer either. ``wrong`` are the
    places of other passages that do not answer it.
    """

    questions: Sequence[Int[np.ndarray, " _"]]
    passages: Sequence[Int[np.ndarray, " _"]]
    gold: Sequence[int]
    spans: Sequence[Sequence[TokenSpan]]
    wrong: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not len(self.questions) == len(self.gold) == len(self.spans) == len(self.wrong):
            raise BadBatches(
                f"{len(self.questions)} questions have {len(self.gold)} passages, {len(self.spans)} lists of spans and "
                f"{len(self.wrong)} of wrong passages: give one of each for every question"
            )
        if not len(self.questions):
            raise BadBatches("there is no question: give at least one")
        for row, (place, spans) in enumerate(zip(self.gold, self.spans, strict=True)):
            if any(not 0 <= one.first <= one.last < len(self.passages[place]) for one in spans):
                raise BadBatches(f"question {row} has the spans {list(spans)}: give those within its passage")
            if any(one.first >= other.first or one.last >= other.last for one, other in pairwise(spans)):
                raise BadBatches(f"question {row} has the spans {list(spans)}: give them in order, none within another")


@dataclass(frozen=True, slots=True)
class SpanBatchOptions:
    """``tokens`` of a batch at most, padding included; rows are padded to the least of ``lengths`` that holds them.

    ``wrong`` is the chance that a question has, besides the row with its own passage, one with a passage that does not
    answer it.
    """

    tokens: int = 2048
    lengths: tuple[int, ...] = (96, 128, 160, 192, 224, 256)
    wrong: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.wrong <= 1.0:
            raise InvalidOption(f"wrong is {self.wrong}, but must be in [0, 1]")
        if not self.lengths or self.tokens < max(self.lengths):
            raise InvalidOption(f"tokens is {self.tokens}, but must hold a row of each of the lengths {self.lengths}")


class _Row(NamedTuple):
    """A question with one passage of which tokens ``begin`` to ``end`` are shown."""

    question: int
    passage: int
    begin: int
    end: int


class SpanBatches:
    """Implements `BatchSource`; wrong passages and windows are drawn anew in every epoch.

    A batch holds ``tokens_BT`` (int32), ``lengths_B`` (int32, tokens of each row), ``passages_B`` (int32, the token at
    which the passage begins), ``firsts_BT`` and ``lasts_BT`` (bool, where answers begin and end, the n-th that begins
    where the n-th ends; token 0 where the passage does not answer), and ``weights_B`` (float32; 0 for rows that only
    fill the batch up).
    """

    def __init__(
        self, data: SpanData, tokens: PairTokens, pairs: PairFormat, options: SpanBatchOptions | None = None
    ) -> None:
        """
        Raises:
            InvalidOption: a batch has no room for a row of ``pairs.max_tokens``.
        """
        self._data, self._tokens, self._pairs = data, tokens, pairs
        self._options = options or SpanBatchOptions(lengths=(pairs.max_tokens,))
        if self._options.tokens < pairs.max_tokens:
            raise InvalidOption(
                f"tokens is {self._options.tokens}, but must hold a row of {pairs.max_tokens}, the longest of a pair"
            )
        self._buckets = Buckets(self._options.lengths, pairs.max_tokens)
        self._plan = PlannedOnce(self._new_plan)

    def steps(self, number: int) -> int:
        return len(self._plan(number))

    def epoch(self, number: int) -> Iterator[Batch]:
        for length, rows in self._plan(number):
            yield self._batch(length, rows)

    def _new_plan(self, number: int) -> list[tuple[int, list[_Row]]]:
        """Padded length and rows of each batch."""
        rng = np.random.default_rng([self._options.seed, number])
        return self._divided(list(self._rows(rng)), rng)

    def _rows(self, rng: np.random.Generator) -> Iterator[_Row]:
        data = self._data
        for question, (gold, spans) in enumerate(zip(data.gold, data.spans, strict=True)):
            yield self._window(question, gold, spans[int(rng.integers(len(spans)))] if spans else None, rng)
            wrong = data.wrong[question]
            if len(wrong) and rng.random() < self._options.wrong:
                yield self._window(question, wrong[int(rng.integers(len(wrong)))], None, rng)

    def _window(self, question: int, passage: int, span: TokenSpan | None, rng: np.random.Generator) -> _Row:
        """Any window that holds ``span`` whole, or as much of its beginning as there is room for."""
        asked = min(len(self._data.questions[question]), self._pairs.question_tokens)
        room, length = self._pairs.max_tokens - PairTokens.frame - asked, len(self._data.passages[passage])
        if length <= room:
            return _Row(question, passage, 0, length)
        first, last = span or (0, length - 1)
        earliest, latest = max(0, min(last + 1 - room, first)), min(first, length - room)
        begin = int(rng.integers(min(earliest, latest), latest + 1))
        return _Row(question, passage, begin, begin + room)

    def _divided(self, rows: list[_Row], rng: np.random.Generator) -> list[tuple[int, list[_Row]]]:
        asked = np.minimum([len(ids) for ids in self._data.questions], self._pairs.question_tokens)
        lengths_R = np.array([asked[row.question] + row.end - row.begin + PairTokens.frame for row in rows])
        batches = self._buckets.batches(lengths_R, lambda length: self._options.tokens // length, rng)
        return [(length, [rows[place] for place in places]) for length, places in batches]

    def _batch(self, length: int, rows: list[_Row]) -> Batch:
        size = self._options.tokens // length
        tokens_BT = np.full((size, length), self._tokens.padding, np.int32)
        lengths_B, passages_B = np.ones(size, np.int32), np.ones(size, np.int32)
        firsts_BT, lasts_BT = np.zeros((size, length), bool), np.zeros((size, length), bool)
        for place, row in enumerate(rows):
            question = self._data.questions[row.question][: self._pairs.question_tokens]
            shown = self._data.passages[row.passage][row.begin : row.end]
            pair = self._tokens.pair(question, shown, self._pairs)
            tokens_BT[place, : len(pair)], lengths_B[place] = pair, len(pair)
            passages_B[place] = len(question) + 2
            offset = passages_B[place] - row.begin
            for first, last in self._shown(row):
                firsts_BT[place, first + offset] = lasts_BT[place, last + offset] = True
            if not firsts_BT[place].any():
                firsts_BT[place, 0] = lasts_BT[place, 0] = True
        return {
            "tokens_BT": tokens_BT,
            "lengths_B": lengths_B,
            "passages_B": passages_B,
            "firsts_BT": firsts_BT,
            "lasts_BT": lasts_BT,
            "weights_B": (np.arange(size) < len(rows)).astype(np.float32),
        }

    def _shown(self, row: _Row) -> list[TokenSpan]:
        """The answer's places within the row's window; the beginning of one, where none stands there whole."""
        if row.passage != self._data.gold[row.question]:
            return []
        begun = [one for one in self._data.spans[row.question] if row.begin <= one.first < row.end]
        # An answer ends where its last token is, not where the window happens to.
        whole = [one for one in begun if one.last < row.end]
        return whole or [TokenSpan(one.first, row.end - 1) for one in begun[:1]]
