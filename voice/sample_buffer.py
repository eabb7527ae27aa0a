"""The last samples of a stream, found by their place in it; older ones are forgotten."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32


class SampleBuffer:
    """Holds samples ``start`` to ``end`` of a stream in one array that grows by doubling and is reused."""

    def __init__(self) -> None:
        self._array = np.zeros(16_384, np.float32)
        self._offset = 0  # where sample `start` lies in the array
        self.start = 0
        self.end = 0

    @property
    def capacity(self) -> int:
        """Samples that there is memory for."""
        return len(self._array)

    def append(self, samples: Float32[np.ndarray, " S"]) -> None:
        held = self.end - self.start
        if self._offset + held + len(samples) > len(self._array):
            self._make_room(held + len(samples))
        at = self._offset + held
        self._array[at : at + len(samples)] = samples
        self.end += len(samples)

    def view(self, start: int, end: int) -> Float32[np.ndarray, " S"]:
        """Samples ``start`` to ``end``, valid until the next `append`; asking for forgotten ones is an error."""
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"samples {start} to {end}; held are {self.start} to {self.end}")
        first = self._offset + start - self.start
        return self._array[first : first + end - start]

    def copy(self, start: int, end: int) -> Float32[np.ndarray, " S"]:
        return self.view(start, end).copy()

    def forget_before(self, sample: int) -> None:
        sample = min(sample, self.end)
        if sample > self.start:
            self._offset += sample - self.start
            self.start = sample

    def _make_room(self, needed: int) -> None:
        held = self.end - self.start
        kept = self._array[self._offset : self._offset + held]
        size = len(self._array)
        while size < 2 * needed:
            size *= 2
        while size > 16_384 and size >= 8 * needed:
            size //= 2
        array = np.zeros(size, np.float32)
        array[:held] = kept
        self._array, self._offset = array, 0
