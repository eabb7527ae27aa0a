"""Speaks with Piper, a neural synthesizer, where its Python package or its program is installed and a voice is set.

Piper's package is under the GPL, so it is nothing that this one brings: who wants it installs it. A voice is a file
``NAME.onnx`` with ``NAME.onnx.json`` beside it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from .errors import VoiceError, VoiceUnavailable
from .programs import pcm_blocks
from .resample import resampled

_FETCHING = ("pinyin",)
"""Kinds of phonemes for which the package would fetch models from the network."""


@dataclass(frozen=True, slots=True)
class PiperVoiceFile:
    """One voice: its model, the code of its language, its sample rate."""

    model: Path
    language: str
    sample_rate: int
    phonemes: str


class Piper:
    """A `Synthesizer` over one voice, which then speaks every language, or over a folder of voices."""

    def __init__(self, voice: Path | str, rate: float = 1.0, program: str = "piper") -> None:
        """Raises VoiceError: there is no voice, or one that is damaged."""
        path = Path(voice).expanduser()
        self._voices = find_voices(path)
        self._any_language = path.is_file()
        self._program = program
        self._length_scale = 1 / rate
        self._loaded: dict[Path, Any] = {}

    @staticmethod
    def available(program: str = "piper") -> bool:
        """Whether the package or the program is installed."""
        return importlib.util.find_spec("piper") is not None or shutil.which(program) is not None

    @property
    def name(self) -> str:
        return f"piper ({', '.join(voice.model.stem for voice in self._voices)})"

    @property
    def sample_rate(self) -> int:
        return self._voices[0].sample_rate

    def warm_up(self) -> None:
        """Load the first voice.

        Raises:
            VoiceUnavailable: Piper is not installed.
            VoiceError: the voice cannot be loaded.
        """
        if not self.available(self._program):
            raise VoiceUnavailable("Piper is not installed: pip install piper-tts")
        if importlib.util.find_spec("piper") is not None:
            self._load(self._voices[0])

    def synthesize(self, text: str, language: str) -> Iterator[Float32[np.ndarray, " S"]]:
        """As `Synthesizer.synthesize`."""
        voice = self._voice_for(language)
        said = re.sub(r"[\[\]\x00-\x1f]", " ", text).strip()
        if not said:
            return
        blocks = self._in_process(voice, said) if importlib.util.find_spec("piper") else self._as_program(voice, said)
        yield from resampled(blocks, voice.sample_rate, self.sample_rate)

    def _voice_for(self, language: str) -> PiperVoiceFile:
        for voice in self._voices:
            if self._any_language or voice.language == language.split("-")[0].lower():
                return voice
        known = ", ".join(sorted({voice.language for voice in self._voices}))
        raise VoiceError(f"no Piper voice for {language!r} in {self._voices[0].model.parent} (it has {known})")

    def _load(self, voice: PiperVoiceFile) -> Any:
        if voice.model not in self._loaded:
            from piper import PiperVoice  # type: ignore[import-not-found]

            if voice.phonemes in _FETCHING:
                raise VoiceError(f"{voice.model}: voices with phonemes of kind {voice.phonemes} fetch more models")
            try:
                self._loaded[voice.model] = PiperVoice.load(voice.model)
            except Exception as error:
                raise VoiceError(f"{voice.model} cannot be loaded ({type(error).__name__}: {error})") from error
        return self._loaded[voice.model]

    def _in_process(self, voice: PiperVoiceFile, text: str) -> Iterator[Float32[np.ndarray, " S"]]:
        from piper import SynthesisConfig  # type: ignore[import-not-found]

        loaded = self._load(voice)
        for chunk in loaded.synthesize(text, SynthesisConfig(length_scale=self._length_scale)):
            yield np.asarray(chunk.audio_float_array, np.float32)

    def _as_program(self, voice: PiperVoiceFile, text: str) -> Iterator[Float32[np.ndarray, " S"]]:
        scale = f"{self._length_scale:.3f}"
        command = [self._program, "--model", str(voice.model), "--output-raw", "--length-scale", scale]
        return pcm_blocks(command, text + "\n")


def find_voices(path: Path) -> tuple[PiperVoiceFile, ...]:
    """The voice at ``path``, or those of the folder ``path``, by name.

    Raises:
        VoiceError: there is none, or one without a readable description beside it.
    """
    if path.is_dir():
        models = sorted(path.glob("*.onnx"))
        if not models:
            raise VoiceError(f"no Piper voice in {path}: it needs NAME.onnx and NAME.onnx.json (voice.piper_voice)")
        return tuple(_described(model) for model in models)
    if not path.is_file():
        raise VoiceError(f"voice.piper_voice: {path} does not exist; give an .onnx file or a folder of them")
    return (_described(path),)


def _described(model: Path) -> PiperVoiceFile:
    description = model.with_name(f"{model.name}.json")
    try:
        config = json.loads(description.read_text("utf-8"))
        language = config.get("language", {}).get("family") or config["espeak"]["voice"]
        rate = int(config["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VoiceError(f"{description} does not describe a Piper voice ({type(error).__name__}: {error})") from error
    return PiperVoiceFile(model, re.split("[-_]", language)[0].lower(), rate, config.get("phoneme_type", "espeak"))
