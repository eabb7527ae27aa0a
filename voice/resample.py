"""A stream of one sample rate to a stream at 16 kHz, the same whatever pieces it arrives in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from .errors import VoiceUnavailable
from .values import SAMPLE_RATE


class Resampler(Protocol):
    def process(self, samples: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, " T"]: ...

    def finish(self) -> Float32[np.ndarray, " T"]:
        """What is left; nothing may be processed after it."""
        ...


def open_resampler(sample_rate: int) -> Resampler:
    """A resampler from ``sample_rate`` to 16 kHz.

    Raises:
        VoiceUnavailable: soxr is not installed, and the rates differ.
    """
    return _Same() if sample_rate == SAMPLE_RATE else _Soxr(sample_rate)


def resampled(
    blocks: Iterator[Float32[np.ndarray, " S"]], sample_rate: int, wanted: int
) -> Iterator[Float32[np.ndarray, " T"]]:
    """``blocks`` at ``sample_rate`` as blocks at the rate ``wanted``.

    Raises:
        VoiceUnavailable: soxr is not installed, and the rates differ.
    """
    if sample_rate == wanted:
        yield from blocks
        return
    try:
        import soxr
    except ImportError as error:
        raise VoiceUnavailable("resampling needs soxr: pip install soxr") from error
    stream = soxr.ResampleStream(sample_rate, wanted, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


class _Same:
    def process(self, samples: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, " S"]:
        return samples

    def finish(self) -> Float32[np.ndarray, " T"]:
        return np.zeros(0, np.float32)


class _Soxr:
    """soxr takes blocks of a fixed length, so that its rounding cannot depend on how the audio arrived.

    Its filter has linear phase and its delay is taken out: sample n of the output is the sound at n / 16000 s.
    """

    def __init__(self, sample_rate: int) -> None:
        try:
            import soxr
        except ImportError as error:
            raise VoiceUnavailable("resampling needs soxr: pip install soxr") from error
        self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._block = max(1, sample_rate // 100)
        self._rest = np.zeros(0, np.float32)

    def process(self, samples: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, " T"]:
        waiting = np.concatenate([self._rest, samples]) if self._rest.size else samples
        whole = len(waiting) - len(waiting) % self._block
        self._rest = waiting[whole:].copy()
        blocks = waiting[:whole].reshape(-1, self._block)
        return _joined([self._stream.resample_chunk(np.ascontiguousarray(block)) for block in blocks])

    def finish(self) -> Float32[np.ndarray, " T"]:
        return self._stream.resample_chunk(self._rest, last=True)


def _joined(pieces: list[np.ndarray]) -> Float32[np.ndarray, " T"]:
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
