"""Audio in, text out; text in, audio out. Names load what they need when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import (
        AudioError,
        AudioFormatError,
        MicrophoneError,
        SpeechModelNotFound,
        StreamClosed,
        TranscriptionFailed,
        VoiceError,
        VoiceUnavailable,
    )
    from .protocols import AudioSink, AudioSource, SpeechDetector, Synthesizer, Transcriber
    from .values import (
        SAMPLE_RATE,
        AudioFormat,
        DecodeOptions,
        Dropped,
        EndOfTurn,
        Final,
        Partial,
        Segment,
        SpeechStarted,
        Transcript,
        VoiceEvent,
        Word,
    )

_HOMES = {
    "errors": (
        "AudioError", "AudioFormatError", "MicrophoneError", "SpeechModelNotFound", "StreamClosed",
        "TranscriptionFailed", "VoiceError", "VoiceUnavailable",
    ),
    "protocols": ("AudioSink", "AudioSource", "SpeechDetector", "Synthesizer", "Transcriber"),
    "values": (
        "SAMPLE_RATE", "AudioFormat", "DecodeOptions", "Dropped", "EndOfTurn", "Final", "Partial", "Segment",
        "SpeechStarted", "Transcript", "VoiceEvent", "Word",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "AudioFormat",
    "AudioFormatError",
    "AudioSink",
    "AudioSource",
    "DecodeOptions",
    "Dropped",
    "EndOfTurn",
    "Final",
    "MicrophoneError",
    "Partial",
    "Segment",
    "SpeechDetector",
    "SpeechModelNotFound",
    "SpeechStarted",
    "StreamClosed",
    "Synthesizer",
    "Transcriber",
    "Transcript",
    "TranscriptionFailed",
    "VoiceError",
    "VoiceEvent",
    "VoiceUnavailable",
    "Word",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
