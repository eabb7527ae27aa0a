"""Audio in, text out; text in, audio out. Names load what they need when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .audio_files import AudioFile
    from .barge_in import BargeIn
    from .errors import (
        AudioError,
        AudioFormatError,
        ComputeUnsupported,
        LanguageUnknown,
        MicrophoneError,
        SpeechModelNotFound,
        StreamClosed,
        TranscriptionFailed,
        VoiceError,
        VoiceUnavailable,
    )
    from .espeak import Espeak
    from .loudspeaker import Loudspeaker
    from .metrics import Distribution, VoiceMetrics
    from .microphone import Microphone
    from .models import find_speech_model, open_transcriber
    from .piper import Piper
    from .playback import ClockedSink, VirtualSink, WavSink
    from .protocols import AudioSink, AudioSource, LossySource, SpeechDetector, Synthesizer, Transcriber
    from .raw_audio import RawAudio
    from .session import ListeningSession
    from .shared import SharedTranscription, TranscriptionStream
    from .speakable import Sentence, SpeakableSentences
    from .speaking import Speaker
    from .standard_input import open_pipe
    from .streaming import StreamingTranscriber, transcribe_source
    from .synthesis import open_synthesizer
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
        "AudioError", "AudioFormatError", "ComputeUnsupported", "LanguageUnknown", "MicrophoneError",
        "SpeechModelNotFound", "StreamClosed", "TranscriptionFailed", "VoiceError", "VoiceUnavailable",
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
    "espeak": ("Espeak",),
    "loudspeaker": ("Loudspeaker",),
    "piper": ("Piper",),
    "playback": ("ClockedSink", "VirtualSink", "WavSink",),
    "speakable": ("Sentence", "SpeakableSentences",),
    "speaking": ("Speaker",),
    "standard_input": ("open_pipe",),
    "synthesis": ("open_synthesizer",),
    "barge_in": ("BargeIn",),
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
    "BargeIn",
    "ClockedSink",
    "ComputeUnsupported",
    "DecodeOptions",
    "Distribution",
    "Dropped",
    "EndOfTurn",
    "Espeak",
    "Final",
    "LanguageUnknown",
    "ListeningSession",
    "LossySource",
    "Loudspeaker",
    "Microphone",
    "MicrophoneError",
    "Partial",
    "Piper",
    "RawAudio",
    "Segment",
    "Sentence",
    "SharedTranscription",
    "SpeakableSentences",
    "Speaker",
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
    "VirtualSink",
    "VoiceError",
    "VoiceEvent",
    "VoiceMetrics",
    "VoiceUnavailable",
    "WavSink",
    "WhisperTranscriber",
    "Word",
    "find_speech_model",
    "open_pipe",
    "open_synthesizer",
    "open_transcriber",
    "transcribe_source",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
