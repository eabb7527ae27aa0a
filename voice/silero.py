"""A second opinion on what is speech: the Silero model that faster-whisper ships, one window after the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from .errors import VoiceUnavailable

WINDOW = 512
_CONTEXT = 64


class SileroDetector:
    """Silero VAD v6 at 16 kHz, run window by window with its state kept between them.

    Gives what ``faster_whisper.vad`` gives for the whole audio at once. Several streams may share the model: the state
    is here. Source of the model: https://github.com/snakers4/silero-vad (MIT).

    Raises:
        VoiceUnavailable: faster-whisper is not installed.
    """

    frame_samples = WINDOW

    def __init__(self) -> None:
        try:
            from faster_whisper.vad import get_vad_model
        except ImportError as error:
            raise VoiceUnavailable("speech detection needs faster-whisper: pip install faster-whisper") from error
        self._session = get_vad_model().session
        self.reset()

    def reset(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def probability(self, frame: Float32[np.ndarray, " S"]) -> float:
        window = np.concatenate([self._context, frame])[None]
        output, self._h, self._c = self._session.run(None, {"input": window, "h": self._h, "c": self._c})
        self._context = frame[-_CONTEXT:].copy()
        return float(np.asarray(output).ravel()[0])
