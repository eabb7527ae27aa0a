"""A stream's audio on its way in: raw pieces of any size to frames at 16 kHz; keeps what may be decoded."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from .detection import FrameClassifier
from .gate import FRAME, Frame
from .metrics import MetricsCollector
from .pcm import PcmDecoder
from .resample import open_resampler
from .sample_buffer import SampleBuffer
from .values import AudioFormat


class StreamInput:
    """Takes audio as the format lays it out and gives frame after frame; ``at`` is where the next one starts."""

    def __init__(self, audio_format: AudioFormat, classifier: FrameClassifier, metrics: MetricsCollector) -> None:
        self._pcm = PcmDecoder(audio_format)
        self._resampler = open_resampler(audio_format.sample_rate)
        self._buffer = SampleBuffer()
        self._classifier = classifier
        self._metrics = metrics
        self.at = 0

    @property
    def received(self) -> int:
        """Samples at 16 kHz so far."""
        return self._buffer.end

    @property
    def held(self) -> int:
        return self._buffer.end - self._buffer.start

    def push(self, data: bytes | np.ndarray) -> None:
        self._append(self._resampler.process(self._pcm.decode(data)))

    def finish(self) -> None:
        self._pcm.finish()
        self._append(self._resampler.finish())

    def next_frame(self, gate_open: bool) -> Frame | None:
        end = self.at + FRAME
        if end > self._buffer.end:
            return None
        frame = self._classifier.classify(self._buffer.view(self.at, end), end, gate_open)
        self.at = end
        return frame

    def hear_anew(self, classifier: FrameClassifier, since: int, gate_open: bool) -> list[Frame]:
        """Ask ``classifier`` from now on; gives what it makes of the whole frames since sample ``since``."""
        self._classifier = classifier
        first = -(-since // FRAME) * FRAME
        ends = range(first + FRAME, self.at + 1, FRAME)
        return [classifier.classify(self._buffer.view(end - FRAME, end), end, gate_open) for end in ends]

    def audio(self, start: int, end: int) -> Float32[np.ndarray, " S"]:
        return self._buffer.copy(start, end)

    def forget_before(self, sample: int) -> None:
        self._buffer.forget_before(min(sample, self.at))

    def _append(self, audio: Float32[np.ndarray, " S"]) -> None:
        self._buffer.append(audio)
        self._metrics.received(len(audio))
        self._metrics.repaired(self._pcm.invalid_samples, self._pcm.clipped_samples)
