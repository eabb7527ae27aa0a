"""Which language a stream is decoded in: the one the user names, or the first that is recognised with confidence."""

from __future__ import annotations

from .values import SAMPLE_RATE, Transcript

_LEAST_AUDIO = 2 * SAMPLE_RATE
_LEAST_PROBABILITY = 0.5


class LanguageLock:
    """``language`` is None until one is settled, and never changes after that; other settings bring another lock.

    Short clips mislead detection, so it takes two seconds of audio or a whole utterance.
    """

    def __init__(self, hint: str | None) -> None:
        self.language = hint

    def hear(self, transcript: Transcript, audio_samples: int, whole: bool) -> None:
        if self.language is not None or not transcript.words:
            return
        if transcript.language_probability >= _LEAST_PROBABILITY and (whole or audio_samples >= _LEAST_AUDIO):
            self.language = transcript.language
