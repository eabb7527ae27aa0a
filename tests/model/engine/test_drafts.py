"""Drafts come from the sequence itself, and are made where they pay."""

from __future__ import annotations

import pytest

from capibara.model.engine.drafts import DraftLookup


def lookup(tokens, most=7):
    drafts = DraftLookup(most)
    drafts.extend(tokens)
    return drafts


@pytest.mark.parametrize("tokens", [[], [5], [1, 2, 3, 4]])
def test_a_sequence_that_repeats_nothing_has_no_draft(tokens):
    assert lookup(tokens).propose() == []


def test_what_followed_the_newest_tokens_before_is_drafted():
    assert lookup([1, 2, 3, 4, 5, 1, 2, 3]).propose() == [4, 5]


def test_a_longer_match_goes_before_a_newer_shorter_one():
    assert lookup([7, 8, 9, 1, 2, 9, 5, 6, 7, 8, 9]).propose() == [1, 2]


def test_among_matches_of_a_length_the_newest_is_taken():
    assert lookup([9, 1, 0, 9, 2, 0, 9]).propose()[0] == 2


def test_drafts_grow_while_they_are_right_and_never_past_the_most():
    drafts, lengths = lookup([*range(40), 0, 1, 2]), []
    for _ in range(4):
        proposed = drafts.propose()
        lengths.append(len(proposed))
        drafts.learn(len(proposed), len(proposed))
        drafts.extend(proposed)
    assert lengths == [2, 4, 7, 7]


def test_a_draft_that_was_partly_right_makes_the_next_one_as_long_as_that_and_one():
    drafts = lookup([*range(40), 0, 1, 2])
    drafts.learn(7, 7)
    drafts.learn(7, 3)
    assert len(drafts.propose()) == 4


def test_drafting_pauses_after_two_failures_and_longer_after_more():
    drafts = lookup([1, 2, 3, 1, 2])
    pauses = []
    for _ in range(4):
        drafts.learn(2, 0)
        pause = 0
        while not drafts.propose():
            pause += 1
        pauses.append(pause)
    assert pauses == [0, 2, 4, 8]


def test_one_right_draft_ends_the_pauses():
    drafts = lookup([1, 2, 3, 1, 2])
    for accepted in (0, 0, 0, 2, 0):
        drafts.learn(2, accepted)
        while not drafts.propose():
            pass
    assert drafts.propose()
