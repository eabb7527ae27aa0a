"""The seams of the room. Each has one conformance suite in ``tests/voice`` that every implementation inherits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from .values import AudioFormat, DecodeOptions, Transcript


class Transcriber(Protocol):
    """A speech recogniser; light to construct, loads on `warm_up` or first use.

    One serves many sessions, but is called by one thread at a time.
    """

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages it knows, such as ``("en", "es")``."""
        ...

    def warm_up(self) -> None: ...

    def transcribe(self, audio: Float32[np.ndarray, " S"], options: DecodeOptions) -> Transcript:
        """The words in ``audio``: mono, 16 kHz, ``-1..1``, at most 30 s; empty audio gives no words.

        Words are in order, with ``0 <= start <= end <= len(audio)``. The same audio and options give the same words.

        Raises:
            TranscriptionFailed: the model raised.
            LanguageUnknown: ``options.language`` is none of `languages`.
            VoiceError: the model cannot be loaded.
        """
        ...


class SpeechDetector(Protocol):
    """Says how likely each frame of a stream is speech; keeps what it needs of the frames before."""

    frame_samples: int
    """Length of a frame in samples at 16 kHz."""

    def probability(self, frame: Float32[np.ndarray, " S"]) -> float:
        """Of the next frame, which follows the one before it without a gap; 0 to 1."""
        ...

    def reset(self) -> None:
        """Forget the frames before: the next one does not follow them."""
        ...


class AudioSource(Protocol):
    """Audio that is pulled, block by block: a file, a microphone, standard input."""

    @property
    def audio_format(self) -> AudioFormat:
        """How the blocks are laid out."""
        ...

    def blocks(self) -> Iterator[bytes | np.ndarray]:
        """The audio in order, once; blocks of any size.

        Raises:
            AudioError: it cannot be read, or ended for another reason than its end.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class LossySource(AudioSource, Protocol):
    """A source that drops audio when it is not fetched in time."""

    @property
    def lost_samples(self) -> int:
        """Samples dropped so far, at the rate of the source."""
        ...


class AudioSink(Protocol):
    """Plays speech. ``played`` is what the listener has heard, which may lag behind what was written."""

    def write(self, samples: Float32[np.ndarray, " S"], sample_rate: int) -> None:
        """Queue ``samples`` (mono, ``-1..1``) after those written before; returns without waiting for them."""
        ...

    def played(self) -> int:
        """Samples heard since the last `clear`, at the rate they were written."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def clear(self) -> None:
        """Stop, and forget everything queued."""
        ...

    def close(self) -> None: ...


class Synthesizer(Protocol):
    """Turns text into speech; light to construct, loads on `warm_up` or first use."""

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    def warm_up(self) -> None: ...

    def synthesize(self, text: str, language: str) -> Iterator[Float32[np.ndarray, " S"]]:
        """The speech of ``text`` in blocks, mono, ``-1..1``; closing the iterator stops the work.

        Raises:
            VoiceError: it cannot speak, or not this language.
        """
        ...
