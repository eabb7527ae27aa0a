"""The last samples of a stream, by their place in it."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.voice.sample_buffer import SampleBuffer


def test_samples_are_found_by_their_place_whatever_was_forgotten():
    buffer, stream = SampleBuffer(), np.arange(100_000, dtype=np.float32)
    for at in range(0, len(stream), 700):
        buffer.append(stream[at : at + 700])
        buffer.forget_before(buffer.end - 5_000)
        start = max(0, buffer.end - 5_000)
        assert np.array_equal(buffer.view(start, buffer.end), stream[start : buffer.end])


@pytest.mark.parametrize(("start", "end"), [(0, 10), (90, 101), (95, 94)])
def test_samples_that_are_not_held_are_refused(start, end):
    buffer = SampleBuffer()
    buffer.append(np.zeros(100, np.float32))
    buffer.forget_before(50)
    with pytest.raises(IndexError, match="held are 50 to 100"):
        buffer.view(start, end)


def test_memory_shrinks_again_after_much_was_held():
    buffer = SampleBuffer()
    buffer.append(np.zeros(2_000_000, np.float32))
    for _ in range(3_000):
        buffer.forget_before(buffer.end)
        buffer.append(np.zeros(1_000, np.float32))
    assert buffer.capacity < 100_000
