"""Sinks without a loudspeaker: their clock is the samples of a stream, so that hearing can be tested and recorded."""

from __future__ import annotations

import threading
import wave
from collections import deque
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from .errors import AudioError
from .values import SAMPLE_RATE


@runtime_checkable
class ClockedSink(Protocol):
    """A sink that plays only as far as it is told that time has passed."""

    def advance(self, samples: int) -> None:
        """``samples`` at 16 kHz have passed."""
        ...


class SampleQueue:
    """Samples that wait to be heard, and how many were. Not thread-safe."""

    def __init__(self) -> None:
        self._blocks: deque[Float32[np.ndarray, " S"]] = deque()
        self.queued = 0
        self.played = 0

    def put(self, samples: Float32[np.ndarray, " S"]) -> None:
        if len(samples):
            self._blocks.append(samples)
            self.queued += len(samples)

    def take(self, count: int) -> Float32[np.ndarray, " S"]:
        """The next ``count`` samples, or as many as there are; they count as played."""
        taken: list[Float32[np.ndarray, " S"]] = []
        wanted = min(count, self.queued)
        while wanted:
            block = self._blocks.popleft()
            if len(block) > wanted:
                self._blocks.appendleft(block[wanted:])
                block = block[:wanted]
            taken.append(block)
            wanted -= len(block)
            self.queued -= len(block)
            self.played += len(block)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)

    def clear(self) -> None:
        self._blocks.clear()
        self.queued = self.played = 0


class VirtualSink:
    """Counts what was written as heard while the samples of its clock pass (`advance`). Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue = SampleQueue()
        self._paused = False
        self._rate: int | None = None
        self._owed = 0
        """Time that has passed and is not played yet, in samples of both rates multiplied."""

    def write(self, samples: Float32[np.ndarray, " S"], sample_rate: int) -> None:
        """As `AudioSink.write`.

        Raises:
            AudioError: the sample rate changed.
        """
        with self._lock:
            if self._rate is None:
                self._rate = sample_rate
                self._opened(sample_rate)
            elif sample_rate != self._rate:
                raise AudioError(f"speech at {sample_rate} Hz after speech at {self._rate} Hz; use one voice rate")
            self._queue.put(samples)

    def advance(self, samples: int) -> None:
        """Time passes: ``samples`` at 16 kHz. While it is paused or has nothing to play, there is silence."""
        with self._lock:
            self._owed += samples * (self._rate or SAMPLE_RATE)
            count, self._owed = divmod(self._owed, SAMPLE_RATE)
            heard = self._queue.take(0 if self._paused else count)
            self._heard(heard, count - len(heard))

    def played(self) -> int:
        with self._lock:
            return self._queue.played

    def pause(self) -> None:
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()
            self._paused = False

    def close(self) -> None:
        self.clear()

    def _opened(self, sample_rate: int) -> None:
        """The first speech is at ``sample_rate``."""

    def _heard(self, samples: Float32[np.ndarray, " S"], silence: int) -> None:
        """``samples`` were heard, then so many samples of ``silence``."""


class WavSink(VirtualSink):
    """A `VirtualSink` that writes what is heard to a WAV file, in step with its clock: silence stays silence."""

    def __init__(self, path: Path | str) -> None:
        """Raises AudioError: the file cannot be written."""
        super().__init__()
        try:
            self._stream = Path(path).open("wb")  # noqa: SIM115 -- closed by `close`
        except OSError as error:
            raise AudioError(f"{path}: cannot be written ({error.strerror})") from error
        self._file: wave.Wave_write | None = None  # one that is never closed complains when it goes
        self._waiting = 0
        """Samples at 16 kHz that passed before the first speech, whose rate is that of the file."""

    def _opened(self, sample_rate: int) -> None:
        self._file = self._begin(sample_rate)
        _silence(self._file, self._waiting * sample_rate // SAMPLE_RATE)

    def _heard(self, samples: Float32[np.ndarray, " S"], silence: int) -> None:
        if self._file is None:
            self._waiting += silence
            return
        self._file.writeframesraw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        _silence(self._file, silence)

    def close(self) -> None:
        with self._lock:
            self._queue.clear()
            if not self._stream.closed:
                (self._file or self._begin(SAMPLE_RATE)).close()
                self._stream.close()

    def _begin(self, sample_rate: int) -> wave.Wave_write:
        file = wave.open(self._stream, "wb")  # noqa: SIM115 -- closed by `close`
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        return file


def _silence(file: wave.Wave_write, count: int) -> None:
    for start in range(0, count, SAMPLE_RATE):
        file.writeframesraw(bytes(2 * min(SAMPLE_RATE, count - start)))
