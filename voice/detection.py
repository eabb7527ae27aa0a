"""Says of each frame how loud it is and how likely speech, asking Silero only where it may be."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from jaxtyping import Float32

from ..config.schema import VoiceSettings
from .gate import Frame
from .protocols import SpeechDetector
from .silero import SileroDetector
from .values import SAMPLE_RATE
from .webrtc import WebrtcDetector

_KEEP_LISTENING = SAMPLE_RATE
_WARM_UP = 16
_QUIET_FRAMES = 32


class FrameClassifier:
    """Gives each frame its level and its probability of speech.

    ``first`` hears every frame. Where there is a ``second``, its opinion counts: it is asked from half a second before
    a loud enough frame that ``first`` takes for speech until one second after the last such frame, and while the gate
    is open.
    """

    def __init__(self, first: SpeechDetector | None, second: SpeechDetector | None, floor_db: float) -> None:
        self._first, self._second = first, second
        self._floor_db = floor_db
        self._history: deque[Float32[np.ndarray, " S"]] = deque(maxlen=_WARM_UP)
        self._listen_until: int | None = None
        self._quiet = 0
        self._asleep = False
        self.second_opinions = 0

    @classmethod
    def of(cls, settings: VoiceSettings) -> FrameClassifier:
        """The detectors that ``settings`` ask for.

        Raises:
            VoiceUnavailable: one of them is not installed.
        """
        first = None if settings.vad == "none" else WebrtcDetector(settings.aggressiveness)
        second = SileroDetector() if settings.vad == "silero" else None
        return cls(first, second, settings.rms_floor_db)

    def classify(self, frame: Float32[np.ndarray, " S"], end: int, gate_open: bool) -> Frame:
        """Of the next frame, which ends at sample ``end`` of the stream."""
        level = level_db(frame)
        if self._first is None:
            return Frame(end, level, 1.0)
        speech = self._first_opinion(self._first, frame, level)
        if self._second is None:
            return Frame(end, level, speech)
        heard = speech > 0 and level >= self._floor_db
        return Frame(end, level, self._second_opinion(self._second, frame, end, heard or gate_open))

    def _first_opinion(self, first: SpeechDetector, frame: Float32[np.ndarray, " S"], level: float) -> float:
        """Nothing is asked about a silence that has lasted; after it, listening begins anew."""
        self._quiet = self._quiet + 1 if level < self._floor_db else 0
        if self._quiet > _QUIET_FRAMES:
            self._asleep = True
            return 0.0
        if self._asleep:
            self._asleep = False
            first.reset()
        return first.probability(frame)

    def _second_opinion(self, second: SpeechDetector, frame: Float32[np.ndarray, " S"], end: int, heard: bool) -> float:
        if heard:
            if self._listen_until is None:
                second.reset()
                for earlier in self._history:
                    second.probability(earlier)
            self._listen_until = end + _KEEP_LISTENING
        self._history.append(frame.copy())
        if self._listen_until is None:
            return 0.0
        if end > self._listen_until:
            self._listen_until = None
            return 0.0
        self.second_opinions += 1
        return second.probability(frame)


def level_db(frame: Float32[np.ndarray, " S"]) -> float:
    """RMS of ``frame`` in dB of full scale; digital silence is -120."""
    return 20 * math.log10(max(1e-6, math.sqrt(float(np.dot(frame, frame)) / max(1, len(frame)))))
