"""A first opinion on what is speech: WebRTC's detector, cheap enough to hear every frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from .errors import VoiceUnavailable
from .silero import WINDOW
from .values import SAMPLE_RATE

_STEP = SAMPLE_RATE // 100


class WebrtcDetector:
    """The share of the 10 ms steps ending in each frame that webrtcvad calls speech.

    ``aggressiveness``: 0 to 3, which takes the least for speech. Frames need not hold whole steps: what is left of one
    is heard with the next.

    Raises:
        VoiceUnavailable: webrtcvad-wheels is not installed.
    """

    frame_samples = WINDOW

    def __init__(self, aggressiveness: int) -> None:
        try:
            import webrtcvad
        except ImportError as error:
            raise VoiceUnavailable("speech detection needs webrtcvad-wheels: pip install webrtcvad-wheels") from error
        self._make = lambda: webrtcvad.Vad(aggressiveness)
        self.reset()

    def reset(self) -> None:
        self._vad = self._make()
        self._rest = np.zeros(0, np.int16)

    def probability(self, frame: Float32[np.ndarray, " S"]) -> float:
        scaled = (np.clip(frame, -1.0, 1.0) * 32767).astype("<i2")
        waiting = np.concatenate([self._rest, scaled])
        steps = len(waiting) // _STEP
        voiced = sum(
            self._vad.is_speech(waiting[i * _STEP : (i + 1) * _STEP].tobytes(), SAMPLE_RATE) for i in range(steps)
        )
        self._rest = waiting[steps * _STEP :]
        return voiced / steps if steps else 0.0
