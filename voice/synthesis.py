"""Chooses what speaks answers, from the settings and from what is installed."""

from __future__ import annotations

import logging

from ..config.schema import VoiceSettings
from .errors import VoiceUnavailable
from .espeak import Espeak
from .piper import Piper
from .protocols import Synthesizer

_LOG = logging.getLogger(__name__)


def open_synthesizer(settings: VoiceSettings) -> Synthesizer | None:
    """Piper where a voice is set, else espeak-ng; None where the settings say so.

    Where a voice of Piper's is set and Piper is not there, espeak-ng may stand in; a warning says so.

    Raises:
        VoiceUnavailable: neither is installed, or not the one that the settings name; one line with the way out.
        VoiceError: Piper's voice is missing or damaged.
    """
    chosen = settings.synthesizer
    if chosen == "none":
        return None
    if chosen == "piper" and settings.piper_voice is None:
        raise VoiceUnavailable("no Piper voice is set: set voice.piper_voice to an .onnx file or a folder of them")
    if chosen != "espeak" and settings.piper_voice is not None:
        if Piper.available():
            return Piper(settings.piper_voice, settings.speech_rate)
        lacking = "voice.piper_voice is set, but piper-tts is not installed (pip install piper-tts)"
        if chosen == "piper" or not Espeak.available():
            raise VoiceUnavailable(lacking)
        _LOG.warning("%s; espeak-ng speaks", lacking)
    if Espeak.available():
        return Espeak(settings.speech_rate)
    way_out = "install the package espeak-ng of your system"
    if chosen == "auto":
        way_out += ", or piper-tts and set voice.piper_voice"
    raise VoiceUnavailable(f"espeak-ng is not installed: {way_out}")
