"""What passes between the parts of the room: audio formats, words in stream time, and the events of a stream.

Stream time is counted in samples at 16 kHz (`SAMPLE_RATE`) from the first sample a stream was given, whatever the rate
it was given at. Every decision is made at a sample, never at a time of day, so an event means the same however fast the
audio arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .errors import AudioFormatError

SAMPLE_RATE = 16_000
"""Samples per second of stream time."""

MAX_CHANNELS = 64
Encoding = Literal["s16le", "f32le"]
FinalReason = Literal["silence", "maximum", "idle", "end"]
"""Why an utterance ended: silence, its greatest length, a stream that paused in it, or the end of the stream."""
DropReason = Literal["overload", "superseded", "overflow", "failed"]


def seconds(samples: int) -> float:
    """``samples`` of stream time in seconds."""
    return samples / SAMPLE_RATE


def samples(seconds_: float) -> int:
    """``seconds_`` in whole samples of stream time."""
    return round(seconds_ * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How raw audio is laid out: interleaved frames of ``channels`` samples.

    Raises:
        AudioFormatError: a rate outside 1000-768000 Hz, no channel or more than 64, or an unknown encoding.
    """

    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: Encoding = "s16le"

    def __post_init__(self) -> None:
        if not 1_000 <= self.sample_rate <= 768_000:
            raise AudioFormatError(f"a sample rate of {self.sample_rate} Hz; it must be between 1000 and 768000")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioFormatError(f"{self.channels} channels; there must be between 1 and {MAX_CHANNELS}")
        if self.encoding not in ("s16le", "f32le"):
            raise AudioFormatError(f"unknown encoding {self.encoding!r}; use 's16le' or 'f32le'")

    @property
    def bytes_per_frame(self) -> int:
        return self.channels * (2 if self.encoding == "s16le" else 4)


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation, without spaces. ``start`` and ``end`` are samples: in an event, of the stream."""

    text: str
    start: int
    end: int
    probability: float = 1.0
    spaced: bool = True
    """A space comes before it; False in languages that write none between words."""

    def shifted(self, by: int) -> Word:
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of words that the model decoded as one, with its own scores. ``start`` and ``end`` are samples."""

    start: int
    end: int
    words: tuple[Word, ...]
    average_logprob: float = 0.0
    no_speech_probability: float = 0.0
    compression_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a `Transcriber` made of a piece of audio; samples count from the start of that piece."""

    segments: tuple[Segment, ...]
    language: str
    language_probability: float = 1.0

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return text_of(self.words)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How one piece of audio is decoded. ``language`` None: detect it. A final is decoded with ``beam`` beams, partials
    greedily."""

    language: str | None = None
    hotwords: tuple[str, ...] = ()
    final: bool = False
    beam: int = 5


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The gate opened. ``start``: first sample of speech as it is known now; ``sample``: where that was decided.

    ``turn`` is the one that was open: a final that is still awaited may yet end it before this speech.
    """

    utterance: int
    turn: int
    sample: int
    start: int


@dataclass(frozen=True, slots=True)
class Partial:
    """What is known of an utterance that goes on. ``committed`` only ever grows; ``tentative`` may change.

    ``sample``: the end of the audio that was decoded.
    """

    utterance: int
    turn: int
    sample: int
    committed: tuple[Word, ...]
    tentative: tuple[Word, ...]
    language: str

    @property
    def words(self) -> tuple[Word, ...]:
        return self.committed + self.tentative

    @property
    def text(self) -> str:
        return text_of(self.words)


@dataclass(frozen=True, slots=True)
class Final:
    """An utterance, complete: its words begin with every word that was committed. Empty: it held no words.

    Each `SpeechStarted` is followed by exactly one. ``start`` and ``end`` span the speech; ``sample``: where its end
    was decided.
    """

    utterance: int
    turn: int
    sample: int
    start: int
    end: int
    words: tuple[Word, ...]
    language: str
    reason: FinalReason
    failed: bool = False
    """The model failed on the last of the audio, so that words may be missing."""

    @property
    def text(self) -> str:
        return text_of(self.words)


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The speaker is done: ``text`` joins the finals of ``utterances``. ``sample``: where that was decided."""

    turn: int
    sample: int
    speech_end: int
    text: str
    language: str
    utterances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Work that was given up: a partial (never a final), or audio that came faster than it could be taken."""

    sample: int
    what: Literal["partial", "audio"]
    reason: DropReason
    count: int = 1
    """Partials, or samples of audio."""


VoiceEvent = SpeechStarted | Partial | Final | EndOfTurn | Dropped


def text_of(words: tuple[Word, ...]) -> str:
    """The words as they are written, with single spaces where there are any."""
    return "".join(" " * (word.spaced and index > 0) + word.text for index, word in enumerate(words))
