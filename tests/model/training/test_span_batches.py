"""Rows for the extractive reader: where answers stand in them, windows, wrong passages, and what an epoch hangs on."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from capibara.model.training.errors import BadBatches, InvalidOption
from capibara.model.training.objective import Batch
from capibara.model.training.pair_tokens import PairFormat, PairTokens
from capibara.model.training.span_batches import SpanBatches, SpanBatchOptions, SpanData, TokenSpan

CLS, SEP = 2, 3
PAIRS = PairFormat(20, 4)
OPTIONS = SpanBatchOptions(tokens=80, lengths=(12, 16), wrong=0.0, seed=1)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> PairTokens:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(60))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", CLS), ("[SEP]", SEP)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return PairTokens(folder)


def data(questions: int = 12, passage_tokens: int = 8, wrong: bool = True) -> SpanData:
    """Question N is token 10 + N; its passage counts up from 30, and the answer is tokens 32 and 33."""
    return SpanData(
        [np.array([10 + row], np.int32) for row in range(questions)],
        [np.arange(30, 30 + passage_tokens, dtype=np.int32), np.full(6, 5, np.int32)],
        [0] * questions,
        [[TokenSpan(2, 3)]] * questions,
        [[1] if wrong else []] * questions,
    )


def answers(batch: Batch) -> list[list[int]]:
    """The tokens that each counted row's answer consists of."""
    found = []
    for row in np.flatnonzero(batch["weights_B"]):
        (first,), (last,) = np.flatnonzero(batch["firsts_BT"][row]), np.flatnonzero(batch["lasts_BT"][row])
        found.append(batch["tokens_BT"][row, first : last + 1].tolist())
    return found


def test_every_answer_is_where_its_row_says(tokens: PairTokens) -> None:
    epoch = list(SpanBatches(data(), tokens, PAIRS, OPTIONS).epoch(0))
    assert [one for batch in epoch for one in answers(batch)] == [[32, 33]] * 12
    asked = sorted(int(batch["tokens_BT"][row, 1]) for batch in epoch for row in np.flatnonzero(batch["weights_B"]))
    assert asked == list(range(10, 22))


def test_the_passage_begins_after_the_question(tokens: PairTokens) -> None:
    (batch,) = SpanBatches(data(1), tokens, PAIRS, OPTIONS).epoch(0)
    begin, end = batch["passages_B"][0], batch["lengths_B"][0] - 1
    assert batch["tokens_BT"][0, :end].tolist() == [CLS, 10, SEP, *range(30, 38)]
    assert (begin, batch["tokens_BT"][0, end]) == (3, SEP)


@pytest.mark.parametrize("length", [14, 30, 60])
def test_a_window_of_a_long_passage_holds_the_answer(tokens: PairTokens, length: int) -> None:
    for number in range(20):
        (batch,) = SpanBatches(data(1, length), tokens, PAIRS, OPTIONS).epoch(number)
        assert answers(batch) == [[32, 33]]
        assert batch["lengths_B"][0] <= PAIRS.max_tokens


def test_windows_change_from_epoch_to_epoch(tokens: PairTokens) -> None:
    source = SpanBatches(data(1, 60), tokens, PAIRS, OPTIONS)
    assert len({next(iter(source.epoch(number)))["tokens_BT"].tobytes() for number in range(12)}) > 1


def test_every_place_of_an_answer_within_the_window_counts(tokens: PairTokens) -> None:
    given = SpanData(
        *(getattr(data(1), name) for name in ("questions", "passages", "gold")),
        [[TokenSpan(0, 1), TokenSpan(4, 5)]],
        [[]],
    )
    (batch,) = SpanBatches(given, tokens, PAIRS, OPTIONS).epoch(0)
    assert np.flatnonzero(batch["firsts_BT"][0]).tolist() == [3, 7]
    assert np.flatnonzero(batch["lasts_BT"][0]).tolist() == [4, 8]


def test_a_wrong_passage_has_its_answer_at_the_first_token(tokens: PairTokens) -> None:
    options = SpanBatchOptions(tokens=80, lengths=(12, 16), wrong=1.0)
    epoch = list(SpanBatches(data(4), tokens, PAIRS, options).epoch(0))
    found = [one for batch in epoch for one in answers(batch)]
    assert sorted(found) == [[CLS]] * 4 + [[32, 33]] * 4


def test_a_question_for_which_no_wrong_passage_was_found_has_one_row(tokens: PairTokens) -> None:
    options = SpanBatchOptions(tokens=80, lengths=(12, 16), wrong=1.0)
    epoch = list(SpanBatches(data(4, wrong=False), tokens, PAIRS, options).epoch(0))
    assert sum(batch["weights_B"].sum() for batch in epoch) == 4


def test_an_epoch_hangs_on_seed_and_number_alone(tokens: PairTokens) -> None:
    def epoch(number: int, seed: int = 1) -> bytes:
        options = SpanBatchOptions(tokens=80, lengths=(12, 16), wrong=0.5, seed=seed)
        source = SpanBatches(data(), tokens, PAIRS, options)
        list(source.epoch(number + 1))
        return b"".join(batch["tokens_BT"].tobytes() for batch in source.epoch(number))

    assert epoch(2) == epoch(2)
    assert len({epoch(2), epoch(3), epoch(2, seed=2)}) == 3


def test_an_epoch_has_as_many_batches_as_it_says_of_few_shapes(tokens: PairTokens) -> None:
    source = SpanBatches(data(40), tokens, PAIRS, OPTIONS)
    epoch = list(source.epoch(0))
    assert len(epoch) == source.steps(0)
    assert {batch["tokens_BT"].shape for batch in epoch} <= {(6, 12), (5, 16), (4, 20)}


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_question_without_an_answer_has_it_at_the_first_token_of_its_own_passage(
    tokens: PairTokens, wrong: float
) -> None:
    given = SpanData(*(getattr(data(4), name) for name in ("questions", "passages", "gold")), [[]] * 4, [[1]] * 4)
    options = SpanBatchOptions(tokens=80, lengths=(12, 16), wrong=wrong)
    epoch = list(SpanBatches(given, tokens, PAIRS, options).epoch(0))
    assert [one for batch in epoch for one in answers(batch)] == [[CLS]] * (8 if wrong else 4)
    shown = [int(batch["tokens_BT"][row, 3]) for batch in epoch for row in np.flatnonzero(batch["weights_B"])]
    assert sorted(shown) == [5] * (4 if wrong else 0) + [30] * 4


def long_passage(*spans: TokenSpan) -> SpanData:
    """One question; of its passage a window holds 16 tokens."""
    whole = data(1, 60)
    return SpanData(whole.questions, whole.passages, whole.gold, [list(spans)], [[]])


def test_a_place_that_the_window_cuts_is_no_answer_where_another_stands_whole(tokens: PairTokens) -> None:
    source = SpanBatches(long_passage(TokenSpan(10, 11), TokenSpan(24, 29)), tokens, PAIRS, OPTIONS)
    found = [answers(batch) for number in range(60) for batch in source.epoch(number)]
    assert all(one in ([[40, 41]], [[54, 55, 56, 57, 58, 59]]) for one in found)


def test_an_answer_longer_than_the_window_is_marked_as_far_as_it_goes(tokens: PairTokens) -> None:
    (batch,) = SpanBatches(long_passage(TokenSpan(2, 40)), tokens, PAIRS, OPTIONS).epoch(0)
    assert answers(batch) == [list(range(32, 48))]


@pytest.mark.parametrize(
    "spans", [[TokenSpan(2, 3), TokenSpan(0, 1)], [TokenSpan(0, 3), TokenSpan(1, 3)], [TokenSpan(1, 1)] * 2]
)
def test_spans_out_of_order_or_within_one_another_are_refused(spans: list[TokenSpan]) -> None:
    whole = data(1)
    with pytest.raises(BadBatches, match="in order, none within another"):
        SpanData(whole.questions, whole.passages, whole.gold, [spans], whole.wrong)


def test_a_batch_without_room_for_the_longest_pair_is_refused(tokens: PairTokens) -> None:
    with pytest.raises(InvalidOption, match="tokens is 18, but must hold a row of 20"):
        SpanBatches(data(), tokens, PAIRS, SpanBatchOptions(tokens=18, lengths=(12,)))


@pytest.mark.parametrize("spans", [[TokenSpan(3, 2)], [TokenSpan(0, 8)], [TokenSpan(-1, 2)]])
def test_spans_outside_their_passage_are_refused(spans: list[TokenSpan]) -> None:
    whole = data(1)
    with pytest.raises(BadBatches, match="question 0"):
        SpanData(whole.questions, whole.passages, whole.gold, [spans], whole.wrong)


def test_no_question_is_refused() -> None:
    with pytest.raises(BadBatches, match="no question"):
        SpanData([], [np.arange(3)], [], [], [])


@pytest.mark.parametrize("options", [{"wrong": 1.5}, {"tokens": 10}, {"lengths": ()}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(InvalidOption):
        SpanBatchOptions(**{"tokens": 80, "lengths": (12, 16), **options})


def test_offsets_tell_where_each_token_stands(tokens: PairTokens) -> None:
    (offsets,) = tokens.offsets(["w1  w2, w3"])
    assert offsets.tolist()[0] == [0, 2]
    assert offsets.tolist()[-1] == [8, 10]
    assert tokens.offsets([""])[0].shape == (0, 2)
