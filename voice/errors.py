"""What can go wrong in this room; every message is one line that names the thing and the way out."""

from __future__ import annotations


class VoiceError(Exception):
    """Base of the room's errors."""


class VoiceUnavailable(VoiceError):
    """A library of the extra `voice` or `microphone` is not installed, or does not load here."""


class AudioError(VoiceError):
    """Audio cannot be read; the message says why."""


class AudioFormatError(AudioError):
    """A sample rate, a number of channels or an encoding that no audio has."""


class MicrophoneError(AudioError):
    """No microphone, or it went away while it was read."""


class SpeechModelNotFound(VoiceError):
    """The speech model's folder is missing or incomplete; names what was looked for and how to fetch it."""


class ComputeUnsupported(VoiceError):
    """The machine cannot do the arithmetic that was asked for."""


class LanguageUnknown(VoiceError):
    """The speech model does not know the language that was asked for."""


class TranscriptionFailed(VoiceError):
    """The speech model raised while it decoded; the cause is chained."""


class StreamClosed(VoiceError):
    """Audio was given to a stream that had been finished."""
