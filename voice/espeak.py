"""Speaks with espeak-ng, called as a program: no voice to fetch, over a hundred languages, the sound of a machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from .errors import VoiceError, VoiceUnavailable
from .programs import pcm_blocks

_WAV_HEADER = 44
_WORDS_PER_MINUTE = 175
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.IGNORECASE)
_VOICES = {"zh": "cmn", "no": "nb", "jw": "jv"}
"""Whisper's codes of languages that espeak-ng knows by another."""


class Espeak:
    """A `Synthesizer`. ``rate`` multiplies the pace of speech."""

    name = "espeak-ng"
    sample_rate = 22_050

    def __init__(self, rate: float = 1.0, program: str = "espeak-ng") -> None:
        self._program = program
        self._pace = str(round(_WORDS_PER_MINUTE * rate))

    @staticmethod
    def available(program: str = "espeak-ng") -> bool:
        """Whether the program is installed."""
        return shutil.which(program) is not None

    def warm_up(self) -> None:
        """Raises VoiceUnavailable: the program is not installed."""
        if not self.available(self._program):
            raise VoiceUnavailable(f"{self._program} is not installed: install the package espeak-ng of your system")

    def synthesize(self, text: str, language: str) -> Iterator[Float32[np.ndarray, " S"]]:
        """As `Synthesizer.synthesize`."""
        self.warm_up()
        if not _LANGUAGE.fullmatch(language):
            raise VoiceError(f"{language!r} is no code of a language, such as en or pt-br")
        # Brackets and control characters are commands to the program: phonemes, sounds, changes of voice.
        said = re.sub(r"[\[\]\x00-\x08\x0b-\x1f]", " ", text)
        if not said.strip():
            return
        voice = _VOICES.get(language.lower(), language.lower())
        command = [self._program, "--stdin", "--stdout", "-b", "1", "-v", voice, "-s", self._pace]
        yield from pcm_blocks(command, said, skip=_WAV_HEADER)
