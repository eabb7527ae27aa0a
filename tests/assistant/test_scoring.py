"""Scores against values worked out by hand."""

import pytest

from capibara.assistant.scoring import contains, mean_reciprocal_rank, percentile, recall_at, token_f1, without_markers


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("It was the Denver Broncos.", ["Denver Broncos"], True),
        ("“the  DENVER broncos” [1]", ["the Denver Broncos"], True),
        ("Denverbroncos", ["Denver"], False),
        ("in 1966", ["66"], False),
        ("anything", [], False),
        ("anything", ["the"], False),
        ("", ["x"], False),
    ],
)
def test_contains_compares_whole_words_after_normalising(answer, references, expected):
    assert contains(answer, references) is expected


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("the big dog", ["big dog"], 1.0),
        ("big brown dog", ["big dog"], 0.8),
        ("cat", ["dog", "cat"], 1.0),
        ("cat", ["dog"], 0.0),
        ("cat", [], 0.0),
    ],
)
def test_token_f1_takes_the_best_reference(answer, references, expected):
    assert token_f1(answer, references) == pytest.approx(expected)


def test_recall_and_reciprocal_rank_count_missing_passages_as_zero():
    ranks = [1, 2, None, 4]
    assert recall_at(ranks, 1) == 0.25
    assert recall_at(ranks, 3) == 0.5
    assert mean_reciprocal_rank(ranks) == pytest.approx((1 + 0.5 + 0.25) / 4)
    assert recall_at([], 1) == mean_reciprocal_rank([]) == 0.0


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 3.0), ([1.0, 2.0, 3.0], 2.0)])
def test_median_of_no_one_and_many_values(values, expected):
    assert percentile(values, 50) == expected


def test_markers_are_no_words_of_an_answer():
    assert without_markers("1,850 pesos [1] or more [12].") == "1,850 pesos or more."
    assert token_f1(without_markers("1953 [1]"), ["1953"]) == 1.0
