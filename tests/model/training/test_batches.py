"""Examples in batches: each once an epoch, in few shapes, in an order that the seed decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from capibara.model.training.batches import BatchOptions, Example, ExampleBatches
from capibara.model.training.errors import BadBatches, InvalidOption


def examples(count: int = 300, seed: int = 0, longest: int = 200) -> list[Example]:
    """The first token of each prompt is its number."""
    rng = np.random.default_rng(seed)
    return [
        Example(
            np.concatenate([[number], rng.integers(1000, 2000, rng.integers(0, longest - 20))]).astype(np.int32),
            rng.integers(2000, 3000, rng.integers(1, 13)).tolist(),
        )
        for number in range(count)
    ]


def taken_apart(batch) -> list[Example]:
    """The examples of a batch, read off its arrays alone."""
    found = []
    segments_BT = batch.get("segments_BT", np.ones_like(batch["tokens_BT"]))
    for row, weights_A in enumerate(batch["weights_BA"]):
        places = batch["positions_BA"][row][weights_A > 0]
        answers = batch["targets_BA"][row][weights_A > 0]
        for segment in np.unique(segments_BT[row][places]):
            mine = segments_BT[row][places] == segment
            first = int(np.flatnonzero(segments_BT[row] == segment)[0])
            prompt = batch["tokens_BT"][row][first : places[mine][0] + 1]
            assert (np.diff(places[mine]) == 1).all()
            assert batch["tokens_BT"][row][places[mine][1:]].tolist() == answers[mine][:-1].tolist()
            found.append(Example(prompt.tolist(), answers[mine].tolist()))
    return found


def tokens_of(example: Example) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(map(int, example.prompt_tokens)), tuple(map(int, example.answer_tokens))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_epoch_holds_every_example_once_and_whole(packed, seed):
    given = examples(seed=seed)
    source = ExampleBatches(given, BatchOptions(tokens=1024, longest=256, packed=packed, seed=seed))
    found = [example for batch in source.epoch(0) for example in taken_apart(batch)]
    assert source.left_out == 0
    assert Counter(map(tokens_of, found)) == Counter(map(tokens_of, given))


@pytest.mark.parametrize("packed", [False, True])
def test_the_batches_are_as_many_as_promised_and_of_the_shapes_announced(packed):
    source = ExampleBatches(examples(), BatchOptions(tokens=1024, longest=256, shapes=3, packed=packed))
    announced = {(shape.rows, shape.tokens, shape.targets) for shape in source.shapes}
    assert len(announced) <= 3
    for number in range(3):
        batches = list(source.epoch(number))
        assert len(batches) == source.steps(number)
        assert {(*b["tokens_BT"].shape, b["targets_BA"].shape[1]) for b in batches} <= announced
        assert all(b["tokens_BT"].size <= 1024 for b in batches)


@pytest.mark.parametrize("packed", [False, True])
def test_an_epoch_repeats_itself_and_differs_from_others_and_from_other_seeds(packed):
    def order(seed: int, number: int) -> list[int]:
        options = BatchOptions(tokens=1024, longest=256, packed=packed, seed=seed)
        batches = ExampleBatches(examples(), options).epoch(number)
        return [int(example.prompt_tokens[0]) for batch in batches for example in taken_apart(batch)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 0)
    assert order(0, 1) != order(1, 1)


def test_without_shuffling_examples_keep_their_order():
    given = [Example([number, 5, 5], [7]) for number in range(50)]
    source = ExampleBatches(given, BatchOptions(tokens=128, longest=64, shuffle=False))
    found = [int(e.prompt_tokens[0]) for batch in source.epoch(4) for e in taken_apart(batch)]
    assert found == list(range(50))


def test_examples_beyond_the_limit_are_counted_and_left_out():
    given = [Example([1] * 60, [2] * 4), Example([1] * 61, [2] * 4), Example([3] * 5, [4])]
    source = ExampleBatches(given, BatchOptions(tokens=64, longest=64))
    assert (len(source), source.left_out) == (2, 1)


def test_rows_are_a_multiple_of_what_is_asked_and_fill_up_with_nothing_to_learn():
    source = ExampleBatches(examples(count=10), BatchOptions(tokens=512, longest=256, shapes=1, rows_multiple=4))
    (shape,) = source.shapes
    *_, last = list(ExampleBatches(examples(10), BatchOptions(512, 256, 1, 4, shuffle=False)).epoch(0))
    assert shape.rows == 4
    assert last["weights_BA"].any(axis=1).tolist() == [True, True, False, False]


def test_lengths_are_chosen_for_the_least_padding():
    lengths = [30] * 50 + [100] * 5 + [250] * 20
    source = ExampleBatches([Example([1] * n, [2]) for n in lengths], BatchOptions(512, 512, shapes=2))
    assert [shape.tokens for shape in source.shapes] == [32, 256]
    source = ExampleBatches([Example([1] * n, [2]) for n in lengths], BatchOptions(512, 512, shapes=3))
    assert [shape.tokens for shape in source.shapes] == [32, 128, 256]


def test_packed_rows_are_nearly_full():
    batches = list(ExampleBatches(examples(600), BatchOptions(4096, 512, packed=True)).epoch(0))
    rows = np.concatenate([batch["segments_BT"] > 0 for batch in batches[:-1]])
    used = rows[rows.any(axis=1)]
    assert used.mean() >= 0.9


def test_packed_examples_stand_apart_and_padding_is_a_segment_of_its_own():
    batch = next(iter(ExampleBatches(examples(), BatchOptions(1024, 256, packed=True)).epoch(0)))
    for tokens_T, segments_T in zip(batch["tokens_BT"], batch["segments_BT"], strict=True):
        assert (tokens_T[segments_T == 0] == 0).all()
        steps = np.diff(segments_T)
        assert set(np.unique(steps[:-1])) <= {0, 1} or segments_T[-1] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Example([1], [2]), Example([], [2])], "example 1 has an empty prompt or answer"),
        ([Example([1], [])], "example 0 has an empty prompt or answer"),
        ([Example([1] * 90, [2])] * 3, "none of 3 examples has at most 64 tokens"),
        ([], "none of 0 examples"),
    ],
)
def test_examples_that_cannot_be_learnt_are_refused(given, message):
    with pytest.raises(BadBatches, match=message):
        ExampleBatches(given, BatchOptions(tokens=64, longest=64))


@pytest.mark.parametrize("options", [{"tokens": 0}, {"longest": 1}, {"shapes": 0}, {"rows_multiple": 0}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(InvalidOption, match=next(iter(options))):
        BatchOptions(**options)
