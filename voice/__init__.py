"""Audio in, text out; text in, audio out. Names load what they need when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .audio_files import AudioFile
    from .errors import (
        AudioError,
        AudioFormatError,
        LanguageUnknown,
        MicrophoneError,
        SpeechModelNotFound,
        StreamClosed,
        TranscriptionFailed,
        VoiceError,
        VoiceUnavailable,
    )
    from .metrics import Distribution, VoiceMetrics
    from .microphone import Microphone
    from .models import find_speech_model, open_transcriber
    from .protocols import AudioSink, AudioSource, LossySource, SpeechDetector, Synthesizer, Transcriber
    from .raw_audio import RawAudio
    from .session import ListeningSession
    from .shared import SharedTranscription, TranscriptionStream
    from .streaming import StreamingTranscriber, transcribe_source
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
    from .whisper import WhisperTranscriber

_HOMES = {
    "audio_files": ("AudioFile",),
    "errors": (
        "AudioError", "AudioFormatError", "LanguageUnknown", "MicrophoneError", "SpeechModelNotFound",
        "StreamClosed", "TranscriptionFailed", "VoiceError", "VoiceUnavailable",
    ),
    "metrics": ("Distribution", "VoiceMetrics"),
    "microphone": ("Microphone",),
    "models": ("find_speech_model", "open_transcriber"),
    "protocols": ("AudioSink", "AudioSource", "LossySource", "SpeechDetector", "Synthesizer", "Transcriber"),
    "raw_audio": ("RawAudio",),
    "session": ("ListeningSession",),
    "shared": ("SharedTranscription", "TranscriptionStream"),
    "streaming": ("StreamingTranscriber", "transcribe_source"),
    "values": (
        "SAMPLE_RATE", "AudioFormat", "DecodeOptions", "Dropped", "EndOfTurn", "Final", "Partial", "Segment",
        "SpeechStarted", "Transcript", "VoiceEvent", "Word",
    ),
    "whisper": ("WhisperTranscriber",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "AudioFile",
    "AudioFormat",
    "AudioFormatError",
    "AudioSink",
    "AudioSource",
    "DecodeOptions",
    "Distribution",
    "Dropped",
    "EndOfTurn",
    "Final",
    "LanguageUnknown",
    "ListeningSession",
    "LossySource",
    "Microphone",
    "MicrophoneError",
    "Partial",
    "RawAudio",
    "Segment",
    "SharedTranscription",
    "SpeechDetector",
    "SpeechModelNotFound",
    "SpeechStarted",
    "StreamClosed",
    "StreamingTranscriber",
    "Synthesizer",
    "Transcriber",
    "Transcript",
    "TranscriptionFailed",
    "TranscriptionStream",
    "VoiceError",
    "VoiceEvent",
    "VoiceMetrics",
    "VoiceUnavailable",
    "WhisperTranscriber",
    "Word",
    "find_speech_model",
    "open_transcriber",
    "transcribe_source",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
