"""The tree of prompts' beginnings: what is found, what stays and what goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.model.engine.prefix_cache import BLOCK, PrefixCache


def text(*blocks: int) -> list[int]:
    """A prompt of whole blocks, each of one token repeated."""
    return [token for token in blocks for _ in range(BLOCK)]


def keep(cache: PrefixCache, tokens: list[int], network: str = "n") -> list[bool]:
    return [
        cache.add(network, tokens[: at + BLOCK], (network, *tokens[at : at + 1]))
        for at in cache.missing(network, tokens)
    ]


def found(cache: PrefixCache, tokens: list[int], network: str = "n") -> list:
    blocks = cache.hold(network, tokens)
    cache.release(blocks)
    return [block.value for block in blocks]


@pytest.mark.parametrize("tokens", [[], [1], [1] * (BLOCK - 1)])
def test_less_than_a_block_is_neither_kept_nor_found(tokens):
    cache = PrefixCache(4)
    assert list(cache.missing("n", tokens)) == []
    assert found(cache, tokens) == []


def test_the_blocks_two_prompts_have_in_common_are_found_in_order():
    cache = PrefixCache(8)
    keep(cache, text(1, 2, 3))
    assert found(cache, [*text(1, 2, 9), 5]) == [("n", 1), ("n", 2)]


def test_a_block_is_found_after_the_same_beginning_alone():
    cache = PrefixCache(8)
    keep(cache, text(1, 2))
    assert found(cache, text(3, 2)) == []


def test_networks_do_not_share_blocks():
    cache = PrefixCache(8)
    keep(cache, text(1, 2), "plain")
    assert found(cache, text(1, 2), "adapted") == []


def test_the_rest_of_a_prompt_that_is_partly_kept_is_missing():
    cache = PrefixCache(8)
    keep(cache, text(1))
    assert list(cache.missing("n", [*text(1, 2, 3), 4])) == [BLOCK, 2 * BLOCK]


def test_the_least_recently_used_leaf_goes_first():
    cache = PrefixCache(3)
    keep(cache, text(1))
    keep(cache, text(2))
    keep(cache, text(3))
    found(cache, text(1))
    keep(cache, text(4))
    assert [bool(found(cache, text(block))) for block in (1, 2, 3, 4)] == [True, False, True, True]


def test_held_blocks_stay_and_what_finds_no_room_is_not_kept():
    cache = PrefixCache(2)
    keep(cache, text(1, 2))
    held = cache.hold("n", text(1, 2))
    assert keep(cache, text(3)) == [False]
    cache.release(held)
    assert keep(cache, text(3)) == [True]
    assert found(cache, text(1, 2)) == [("n", 1)]


def test_a_prompt_longer_than_the_room_does_not_push_out_its_own_beginning():
    cache = PrefixCache(2)
    assert keep(cache, text(1, 2, 3, 4)) == [True, True, False, False]
    assert found(cache, text(1, 2, 3, 4)) == [("n", 1), ("n", 2)]


@given(st.lists(st.lists(st.integers(0, 2), max_size=5), max_size=30))
def test_what_is_found_is_a_beginning_that_was_kept_and_the_room_is_never_exceeded(prompts):
    cache, kept = PrefixCache(6), set()
    for prompt in prompts:
        values = found(cache, text(*prompt))
        assert [value[1] for value in values] == prompt[: len(values)]
        assert not values or tuple(prompt[: len(values)]) in kept
        keep(cache, text(*prompt))
        kept |= {tuple(prompt[:end]) for end in range(1, len(prompt) + 1)}
        assert cache.count <= 6
