"""Who runs next, decided over sequences that are nothing but their state."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from capibara.model.chunks import LARGEST_CHUNK, cache_slots, chunks_of, next_chunk
from capibara.model.engine.schedule import SHARED_CHUNK, batch_size, batches, chunk_limit, next_prompts, piece_limit


@dataclass(frozen=True)
class Waiting:
    name: str
    decoding: bool = True
    family: str = "plain"
    since: int = 0
    room: bool = True


def names(found):
    return [[each.name for each in batch] for batch in found]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (8, [8]), (9, [8, 1]), (20, [8, 8, 4])])
def test_all_that_decode_take_a_step_in_batches_of_eight_at_most(count, sizes):
    assert [len(batch) for batch in batches([Waiting(str(number)) for number in range(count)])] == sizes


def test_sequences_of_two_families_are_not_mixed():
    sequences = [Waiting("a"), Waiting("b", family="adapted"), Waiting("c"), Waiting("d", decoding=False)]
    assert names(batches(sequences)) == [["a", "c"], ["b"]]


def prompts(found):
    return [each.name for each in found]


def next_of(sequences, room=256, upcoming=lambda each: each):
    return prompts(next_prompts(sequences, room, upcoming))


def test_the_prompt_that_waited_for_the_most_turns_goes_on_and_among_equals_the_first():
    served, waiting, behind = (
        Waiting("served", decoding=False, since=9),
        Waiting("waiting", decoding=False, since=7),
        Waiting("behind", decoding=False, since=7),
    )
    assert next_of([served, waiting, behind], room=127) == ["waiting"]
    assert next_of([served, waiting, behind]) == ["waiting", "behind"]
    assert next_of([Waiting("decodes")]) == []


@pytest.mark.parametrize(("count", "room", "taken"), [(1, 256, 1), (3, 256, 2), (8, 256, 4), (8, 128, 2), (8, 127, 1)])
def test_a_step_runs_pieces_of_as_many_prompts_as_there_is_room_and_a_step_for(count, room, taken):
    waiting = [Waiting(str(number), decoding=False) for number in range(count)]
    assert next_of(waiting, room) == [str(number) for number in range(taken)]


def test_prompts_of_other_families_or_without_room_or_with_the_same_upcoming_tokens_do_not_join():
    first, other, full, same, mate = (
        Waiting("first", decoding=False),
        Waiting("other", decoding=False, family="adapted"),
        Waiting("full", decoding=False, room=False),
        Waiting("same", decoding=False),
        Waiting("mate", decoding=False),
    )
    sequences = [first, other, full, same, mate]
    assert next_of(sequences, upcoming=lambda each: "system" if each in (first, same) else each) == ["first", "mate"]
    assert next_of([full, first, mate]) == ["full"]


def test_a_long_prompt_goes_on_however_many_short_ones_come():
    served, since = 0, 0
    for turn in range(20):
        newcomers = [Waiting(f"{turn}", decoding=False, since=turn) for _ in range(2)]
        if "long" in next_of([Waiting("long", decoding=False, since=since), *newcomers], room=64):
            served, since = served + 1, turn
    assert served >= 10


@pytest.mark.parametrize(("room", "size"), [(1, 32), (33, 32), (64, 64), (127, 64), (128, 128), (256, 256)])
def test_a_piece_has_a_size_that_is_compiled_for(room, size):
    assert piece_limit(room) == size


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
