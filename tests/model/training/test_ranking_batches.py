"""Groups are drawn anew each epoch, the same for the same seed; pairs are laid out and cut as at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from capibara.model.errors import CheckpointError, UnsupportedCheckpoint
from capibara.model.training.errors import BadBatches, InvalidOption
from capibara.model.training.pair_tokens import PairFormat, PairTokens
from capibara.model.training.ranking_batches import RankingBatches, RankingBatchOptions, RankingData

WORDS = ["river", "boat", "night", "train", "pier", "lake", "##ing", "##ed", "##s", "7", "a", "?"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> PairTokens:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = word_piece()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", CLS), ("[SEP]", SEP)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return PairTokens(folder)


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def data(questions: int = 40, passages: int = 25, found: int = 6) -> RankingData:
    """Passage number N consists of N + 3 times the token 4 + N % 12, so that a row of tokens tells which it is."""
    rng = np.random.default_rng(0)
    return RankingData(
        questions=[np.array([5, 6, 15][: 1 + row % 3], np.int32) for row in range(questions)],
        passages=[np.full(place + 3, 4 + place % 12, np.int32) for place in range(passages)],
        gold=rng.integers(0, passages, questions),
        retrieved=[rng.permutation(passages)[:found].tolist() for _ in range(questions)],
    )


def batches(given: RankingData, tokens: PairTokens, **options) -> RankingBatches:
    chosen = {"groups": 8, "candidates": 4, "lengths": (8, 16, 24), "seed": 1} | options
    return RankingBatches(given, tokens, PairFormat(28, 2), RankingBatchOptions(**chosen))


def equal(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def test_an_epoch_hangs_on_seed_and_number_alone(tokens: PairTokens) -> None:
    first = batches(data(), tokens, cipher=0.5)
    again = batches(data(), tokens, cipher=0.5)
    epoch = list(first.epoch(3))
    list(again.epoch(0))
    assert equal(epoch, list(again.epoch(3)))
    assert not equal(epoch, list(again.epoch(4)))
    assert not equal(epoch, list(batches(data(), tokens, cipher=0.5, seed=2).epoch(3)))


@pytest.mark.parametrize("number", [0, 1])
def test_every_question_comes_once_in_batches_of_few_shapes(tokens: PairTokens, number: int) -> None:
    source = batches(data(), tokens)
    epoch = list(source.epoch(number))
    assert len(epoch) == source.steps(number)
    assert sum(batch["weights_G"].sum() for batch in epoch) == 40
    shapes = {batch["tokens_GCT"].shape for batch in epoch}
    assert {shape[:2] for shape in shapes} == {(8, 4)}
    assert {shape[2] for shape in shapes} <= {8, 16, 24, 28}
    for batch in epoch:
        assert batch["tokens_GCT"].dtype == batch["lengths_GC"].dtype == np.int32
        longest = batch["lengths_GC"].max()
        assert longest <= batch["tokens_GCT"].shape[2] < longest + 8 + 1


def passage_of(row_T: np.ndarray, length: int) -> tuple[int, int]:
    """Token and number of tokens of the passage in a pair."""
    middle, last = np.flatnonzero(row_T[:length] == SEP)
    assert last == length - 1
    return int(row_T[middle + 1]), int(last - middle - 1)


def test_the_gold_passage_is_first_and_the_others_are_retrieved_ones(tokens: PairTokens) -> None:
    given = data(questions=30, found=6)
    # One question each, told apart by its own tokens.
    given = RankingData([np.array([4 + row % 12, 4 + row // 12], np.int32) for row in range(30)], *rest(given))
    for batch in batches(given, tokens, groups=1, lengths=()).epoch(0):
        row = int(batch["tokens_GCT"][0, 0, 1] - 4 + 12 * (batch["tokens_GCT"][0, 0, 2] - 4))
        drawn = [passage_of(*pair) for pair in zip(batch["tokens_GCT"][0], batch["lengths_GC"][0], strict=True)]
        assert drawn[0] == whole(given, given.gold[row])
        others = {whole(given, place) for place in given.retrieved[row] if place != given.gold[row]}
        assert set(drawn[1:]) <= others
        assert len(set(drawn[1:])) == 3


def rest(given: RankingData) -> tuple:
    return given.passages, given.gold, given.retrieved


def whole(given: RankingData, place: int) -> tuple[int, int]:
    """What is left of a passage beside a question of two tokens in 28."""
    ids = given.passages[place]
    return int(ids[0]), min(len(ids), 28 - 3 - 2)


def test_other_candidates_change_from_epoch_to_epoch(tokens: PairTokens) -> None:
    source = batches(data(questions=1, found=20), tokens, groups=1, lengths=())
    drawn = {next(iter(source.epoch(number)))["tokens_GCT"].tobytes() for number in range(5)}
    assert len(drawn) == 5


def test_random_passages_stand_in_where_too_little_was_retrieved(tokens: PairTokens) -> None:
    given = data(questions=20)
    given = RankingData(given.questions, given.passages, given.gold, [[], [int(given.gold[1])], *[[3]] * 18])
    for batch in batches(given, tokens, groups=1, lengths=()).epoch(0):
        drawn = [passage_of(*pair) for pair in zip(batch["tokens_GCT"][0], batch["lengths_GC"][0], strict=True)]
        assert drawn[0] not in drawn[1:]


def test_a_pair_is_framed_and_cut(tokens: PairTokens) -> None:
    question, passage = tokens.ids(["River boat?", "night train " * 40])
    assert question.tolist() == [4, 5, 15]
    assert len(passage) == 80
    pair = tokens.pair(question, passage, PairFormat(12, 2))
    assert pair.tolist() == [CLS, 4, 5, SEP, 6, 7, 6, 7, 6, 7, 6, SEP]
    assert tokens.pair(question[:1], passage[:2], PairFormat(12, 2)).tolist() == [CLS, 4, SEP, 6, 7, SEP]


def test_a_cipher_exchanges_word_pieces_of_a_group_alike(tokens: PairTokens) -> None:
    (plain,) = batches(data(questions=8), tokens, groups=8, lengths=()).epoch(0)
    (coded,) = batches(data(questions=8), tokens, groups=8, lengths=(), cipher=1.0).epoch(0)
    np.testing.assert_array_equal(plain["lengths_GC"], coded["lengths_GC"])
    changed = 0
    for before, after in zip(plain["tokens_GCT"], coded["tokens_GCT"], strict=True):
        pairs = {(int(a), int(b)) for a, b in zip(before.ravel(), after.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        for a, b in pairs:
            kinds = [word.startswith("##") for word in (VOCABULARY[a], VOCABULARY[b])]
            assert kinds[0] == kinds[1]
            letters = VOCABULARY[a].removeprefix("##")
            assert a == b or (len(letters) > 1 and letters.isalpha())
        changed += any(a != b for a, b in pairs)
    assert changed >= 6


def test_the_share_of_ciphered_groups_is_what_was_asked_for(tokens: PairTokens) -> None:
    plain = list(batches(data(questions=400), tokens).epoch(0))
    coded = list(batches(data(questions=400), tokens, cipher=0.25).epoch(0))
    changed = sum(
        not np.array_equal(a, b)
        for one, other in zip(plain, coded, strict=True)
        for a, b in zip(one["tokens_GCT"], other["tokens_GCT"], strict=True)
    )
    assert 60 <= changed <= 140


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RankingData([np.array([4])], [np.array([4])] * 3, np.array([0, 1]), [[1]]), "1 questions have 2"),
        (lambda: RankingData([], [np.array([4])] * 3, np.array([]), []), "0 questions over 3 passages"),
        (lambda: RankingData([np.array([4])], [np.array([4])], np.array([0]), [[0]]), "1 questions over 1 passages"),
        (lambda: RankingData([np.array([4])], [np.array([4])] * 3, np.array([3]), [[0]]), "passage 3 of 3"),
        (lambda: RankingData([np.array([4])], [np.array([4])] * 3, np.array([0]), [[7]]), "passage 7 of 3"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(wrong, message: str) -> None:
    with pytest.raises(BadBatches, match=message):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RankingBatchOptions(candidates=1), "candidates 1"),
        (lambda: RankingBatchOptions(groups=0), "groups is 0"),
        (lambda: RankingBatchOptions(cipher=1.5), r"cipher is 1\.5"),
        (lambda: PairFormat(64, 64), "question_tokens is 64"),
    ],
)
def test_impossible_options_are_refused(wrong, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        wrong()


def test_a_tokenizer_that_cannot_make_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        PairTokens(tmp_path)
    word_piece().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedCheckpoint, match="puts 0 special tokens"):
        PairTokens(tmp_path)
