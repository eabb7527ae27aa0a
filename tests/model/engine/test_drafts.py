"""Drafts come from the sequence itself, and are made where they pay."""

from __future__ import annotations

import pytest

from capibara.model.engine.drafts import DraftLength, DraftLookup


def proposed(tokens, most=7):
    return DraftLookup(most).propose(tokens, most)


@pytest.mark.parametrize("tokens", [[], [5], [1, 2, 3, 4]])
def test_a_sequence_that_repeats_nothing_has_no_draft(tokens):
    assert proposed(tokens) == []


def test_what_followed_the_newest_tokens_before_is_drafted():
    assert proposed([1, 2, 3, 4, 5, 1, 2, 3]) == [4, 5]


def test_a_longer_match_goes_before_a_newer_shorter_one():
    assert proposed([7, 8, 9, 1, 2, 9, 5, 6, 7, 8, 9]) == [1, 2]


def test_among_matches_of_a_length_the_newest_is_taken():
    assert proposed([9, 1, 0, 9, 2, 0, 9])[0] == 2


def test_matches_shorter_than_asked_for_draft_nothing():
    drafts = DraftLookup(7, shortest_match=3)
    assert drafts.propose([7, 8, 9, 1, 2, 8, 9], 7) == []
    assert drafts.propose([7, 8, 9, 1, 2, 8, 9, 7, 8, 9], 7) == [1, 2]


def test_no_more_is_drafted_than_is_asked_for():
    drafts = DraftLookup(7)
    assert drafts.propose([1, 2, 3, 1], 1) == [2]
    assert drafts.propose([1, 2, 3, 1], 0) == []


def test_a_sequence_that_has_grown_is_looked_up_whole():
    drafts = DraftLookup(7)
    assert drafts.propose([1, 2, 3], 7) == []
    assert drafts.propose([1, 2, 3, 4, 1, 2], 7) == [3, 4]


def test_drafts_grow_while_they_are_right_and_never_past_the_most():
    length, lengths = DraftLength(7), []
    for _ in range(4):
        lengths.append(length.now())
        length.learn(lengths[-1], lengths[-1])
    assert lengths == [2, 4, 7, 7]


def test_a_draft_that_was_partly_right_makes_the_next_one_as_long_as_that_and_one():
    length = DraftLength(7)
    length.learn(7, 7)
    length.learn(7, 3)
    assert length.now() == 4


def test_drafting_pauses_after_two_failures_and_longer_after_more():
    length, pauses = DraftLength(7), []
    for _ in range(4):
        length.learn(2, 0)
        pause = 0
        while not length.now():
            pause += 1
        pauses.append(pause)
    assert pauses == [0, 2, 4, 8]


def test_one_right_draft_ends_the_pauses():
    length = DraftLength(7)
    for accepted in (0, 0, 0, 2, 0):
        length.learn(2, accepted)
        while not length.now():
            pass
    assert length.now()
