"""Chooses what speaks answers, from the settings and from what is installed."""

from __future__ import annotations

from ..config.schema import VoiceSettings
from .errors import VoiceUnavailable
from .espeak import Espeak
from .piper import Piper
from .protocols import Synthesizer


def open_synthesizer(settings: VoiceSettings) -> Synthesizer | None:
    """Piper where a voice is set, else espeak-ng; None where the settings say so.

    Raises:
        VoiceUnavailable: neither is installed, or not the one that the settings name; one line with the way out.
        VoiceError: Piper's voice is missing or damaged.
    """
    chosen = settings.synthesizer
    if chosen == "none":
        return None
    if chosen == "piper" or (chosen == "auto" and settings.piper_voice and Piper.available()):
        if settings.piper_voice is None:
            raise VoiceUnavailable("no Piper voice is set: set voice.piper_voice to an .onnx file or a folder of them")
        if not Piper.available():
            raise VoiceUnavailable("Piper is not installed: pip install piper-tts")
        return Piper(settings.piper_voice, settings.speech_rate)
    if Espeak.available():
        return Espeak(settings.speech_rate)
    way_out = "install the package espeak-ng of your system"
    if chosen == "auto":
        way_out += ", or piper-tts and set voice.piper_voice"
    raise VoiceUnavailable(f"espeak-ng is not installed: {way_out}")
