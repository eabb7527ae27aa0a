"""What teachers say together, with weights worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.model.training.consensus import TeacherAnswer, agreements, consensus, soft_targets
from capibara.model.training.errors import InvalidOption


def same_words(one: str, other: str) -> float:
    """Shared words over all words (Jaccard)."""
    left, right = set(one.split()), set(other.split())
    return len(left & right) / len(left | right)


def test_agreement_is_the_mean_similarity_to_the_others():
    assert agreements(["red", "red", "red wine", "tea"], same_words) == (0.5, 0.5, pytest.approx(1 / 3), 0.0)


def test_a_teacher_alone_agrees_with_itself():
    assert agreements(["red"], same_words) == (1.0,)
    target = consensus([TeacherAnswer("red", (0.25,))], same_words)
    assert target is not None
    assert (target.answer, target.weight, target.teacher_weights) == ("red", 1.0, (1.0,))


def test_weights_are_agreement_times_the_critics_mean():
    answers = [
        TeacherAnswer("red", (1.0, 0.5)),  # agreement (1 + 1/2) / 3 = 1/2, critics 3/4: 3/8
        TeacherAnswer("red", (0.0, 0.5)),  # 1/2 · 1/4 = 1/8
        TeacherAnswer("red wine", (0.75, 0.75)),  # (1/2 + 1/2) / 3 = 1/3 · 3/4 = 1/4
        TeacherAnswer("tea", (1.0, 1.0)),  # agrees with nobody: 0
    ]
    target = consensus(answers, same_words)
    assert target is not None
    assert target.teacher_weights == pytest.approx((1 / 2, 1 / 6, 1 / 3, 0))
    assert (target.answer, target.teacher) == ("red", 0)
    assert target.weight == pytest.approx(2 / 3)


def test_critics_can_overrule_the_majority():
    answers = [TeacherAnswer("red", (0.1,)), TeacherAnswer("red", (0.1,)), TeacherAnswer("red wine", (1.0,))]
    target = consensus(answers, same_words)
    assert target is not None
    # 3/4 · 1/10 twice against 1/2 · 1
    assert target.answer == "red wine"
    assert target.weight == pytest.approx(0.5 / 0.65)


def test_equal_answers_count_together_and_the_weightiest_spells_them():
    answers = [TeacherAnswer("red", (0.5,)), TeacherAnswer("Red", (1.0,)), TeacherAnswer("tea", (1.0,))]

    def alike(one: str, other: str) -> float:
        return same_words(one.lower(), other.lower())

    target = consensus(answers, alike, str.lower)
    assert target is not None
    assert (target.answer, target.teacher, target.weight) == ("Red", 1, 1.0)


def test_answers_of_the_same_weight_go_to_the_teacher_named_first():
    target = consensus([TeacherAnswer("red wine"), TeacherAnswer("red")], same_words)
    assert target is not None
    assert (target.answer, target.weight) == ("red wine", 0.5)


@pytest.mark.parametrize(
    "answers", [[], [TeacherAnswer("red"), TeacherAnswer("tea")], [TeacherAnswer("red", (0.0,))] * 2]
)
def test_where_nothing_weighs_anything_there_is_no_consensus(answers):
    assert consensus(answers, same_words) is None


def test_a_score_out_of_range_is_refused():
    with pytest.raises(InvalidOption, match=r"score of 'red' is 1\.5"):
        TeacherAnswer("red", (0.5, 1.5))


def test_the_mixture_is_that_of_the_softened_distributions():
    first, second = np.log([[8.0, 1.0, 27.0]]), np.log([[1.0, 64.0, 1.0]])
    soft = soft_targets((0.75, 0.25), (first, second))  # at temperature 3: cube roots
    assert soft is not None
    expected = 0.75 * np.array([2, 1, 3]) / 6 + 0.25 * np.array([1, 4, 1]) / 6
    order = np.argsort(-expected)
    np.testing.assert_array_equal(soft.tokens, [order])
    np.testing.assert_allclose(soft.probs, [expected[order]], rtol=1e-6)


def test_only_the_likeliest_tokens_are_kept_with_their_own_probabilities():
    soft = soft_targets((1.0,), (np.log([[1.0, 3.0, 2.0, 4.0], [5.0, 2.0, 2.0, 1.0]]),), 1.0, keep=2)
    assert soft is not None
    np.testing.assert_array_equal(soft.tokens, [[3, 1], [0, 1]])
    np.testing.assert_allclose(soft.probs, [[0.4, 0.3], [0.5, 0.2]], rtol=1e-6)


def test_teachers_without_logits_or_weight_have_no_part_in_the_mixture():
    logits, other = np.log([[1.0, 3.0]]), np.log([[9.0, 1.0]])
    soft = soft_targets((0.5, 0.3, 0.2, 0.0), (None, logits, logits, other), 1.0)
    assert soft is not None
    np.testing.assert_allclose(soft.probs, [[0.75, 0.25]], rtol=1e-6)
    assert soft_targets((0.0, 1.0), (logits, None)) is None


def test_logits_that_do_not_fit_are_refused():
    one = np.zeros((2, 3))
    with pytest.raises(InvalidOption, match="temperature is 0 and keep is 64"):
        soft_targets((1.0,), (one,), 0)
    with pytest.raises(InvalidOption, match="2 weights for 1 teachers"):
        soft_targets((0.5, 0.5), (one,))
    with pytest.raises(InvalidOption, match="give tokens of one tokenizer"):
        soft_targets((0.5, 0.5), (one, np.zeros((2, 4))))
