"""Who runs next, decided over sequences that are nothing but their state."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from capibara.model.chunks import LARGEST_CHUNK, cache_slots, chunks_of, next_chunk
from capibara.model.engine.schedule import SHARED_CHUNK, batch_size, batches, chunk_limit, next_prompt


@dataclass(frozen=True)
class Waiting:
    name: str
    decoding: bool = True
    family: str = "plain"
    pieces: int = 0


def names(found):
    return [[each.name for each in batch] for batch in found]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (8, [8]), (9, [8, 1]), (20, [8, 8, 4])])
def test_all_that_decode_take_a_step_in_batches_of_eight_at_most(count, sizes):
    assert [len(batch) for batch in batches([Waiting(str(number)) for number in range(count)])] == sizes


def test_sequences_of_two_families_are_not_mixed():
    sequences = [Waiting("a"), Waiting("b", family="adapted"), Waiting("c"), Waiting("d", decoding=False)]
    assert names(batches(sequences)) == [["a", "c"], ["b"]]


def test_the_prompt_with_the_fewest_pieces_goes_on_and_among_equals_the_one_that_came_first():
    long, short, late = (
        Waiting("long", decoding=False, pieces=3),
        Waiting("short", decoding=False, pieces=1),
        Waiting("late", decoding=False, pieces=1),
    )
    assert next_prompt([long, short, late]) is short
    assert next_prompt([Waiting("decodes")]) is None


def test_pieces_are_smaller_while_others_decode():
    assert chunk_limit([]) == chunk_limit([Waiting("prompt", decoding=False)]) == LARGEST_CHUNK
    assert chunk_limit([Waiting("decodes")]) == SHARED_CHUNK < LARGEST_CHUNK


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8)])
def test_a_batch_is_filled_up_to_the_next_size(count, size):
    assert batch_size(count) == size


@pytest.mark.parametrize("start", [0, 32, 96, 480])
@pytest.mark.parametrize("limit", [32, SHARED_CHUNK, LARGEST_CHUNK])
@pytest.mark.parametrize("tokens", [1, 31, 148, 500, 511, 1300])
def test_pieces_from_any_block_on_cover_the_rest_and_stay_within_the_caches(start, tokens, limit):
    slots, covered, tokens = cache_slots(start + tokens), start, start + tokens
    while covered < tokens:
        chunk = next_chunk(covered, tokens, slots, limit)
        assert chunk.start == covered
        assert 1 <= chunk.count <= chunk.size <= limit
        assert chunk.start + chunk.size <= slots
        covered += chunk.count
    assert covered == tokens


def test_all_pieces_of_a_prompt_but_the_last_are_the_largest():
    assert [chunk.size for chunk in chunks_of(600)] == [256, 256, 128]
