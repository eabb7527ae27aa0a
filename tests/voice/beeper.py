"""A synthesizer whose timing can be computed: every character sounds for 50 ms, as a tone or a short pause."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from capibara.voice.errors import VoiceError

CHARACTER_SECONDS = 0.05


class Beeper:
    """Speaks any language but ``xx``; gives one block per word."""

    name = "beeper"
    sample_rate = 16_000

    def warm_up(self) -> None:
        """Nothing to load."""

    def synthesize(self, text: str, language: str) -> Iterator[np.ndarray]:
        if language == "xx":
            raise VoiceError("the beeper does not speak 'xx'")
        length = round(CHARACTER_SECONDS * self.sample_rate)
        for word in text.split():
            tone = 0.3 * np.sin(np.arange(length * len(word)) * 0.2)
            yield np.concatenate([tone, np.zeros(length)]).astype(np.float32)
