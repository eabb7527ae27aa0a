"""Speech that needs no model: words are tones, and a transcriber hears them as a recogniser does, with errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capibara.voice.detection import FrameClassifier, level_db
from capibara.voice.errors import TranscriptionFailed
from capibara.voice.values import SAMPLE_RATE, DecodeOptions, Segment, Transcript, Word, samples

_VOCABULARY = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
WORDS = tuple(_VOCABULARY.split())
_LOWEST, _STEP = 400, 100
_SLICE = 320


def spoken(text: str, word_seconds: float = 0.3, gap_seconds: float = 0.1, level: float = 0.3) -> np.ndarray:
    """``text`` of `WORDS` as tones, with silence between words and none around them."""
    pieces: list[np.ndarray] = []
    for word in text.split():
        if pieces:
            pieces.append(silence(gap_seconds))
        at = np.arange(samples(word_seconds)) / SAMPLE_RATE
        pieces.append(np.sin(2 * np.pi * (_LOWEST + _STEP * WORDS.index(word)) * at).astype(np.float32) * level)
    return np.concatenate(pieces) if pieces else silence(0)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(samples(seconds), np.float32)


def stream(*parts: np.ndarray | float | str) -> np.ndarray:
    """Joins audio, seconds of silence, and texts to be spoken."""
    return np.concatenate(
        [spoken(p) if isinstance(p, str) else silence(p) if isinstance(p, (int, float)) else p for p in parts]
    )


class ToneDetector:
    """Calls every frame speech that is not silent."""

    frame_samples = 512

    def probability(self, frame: np.ndarray) -> float:
        return float(level_db(frame) > -60)

    def reset(self) -> None: ...


def tone_classifier() -> FrameClassifier:
    return FrameClassifier(ToneDetector(), None, -75.0)


class ToneTranscriber:
    """Hears tones. A tone cut off by either end of the audio is heard as its neighbour, as a word cut off may be."""

    name = "tones"
    languages = ("en", "es")

    def __init__(self, fail_on: Sequence[int] = ()) -> None:
        self.calls: list[tuple[int, DecodeOptions]] = []
        self._fail_on = set(fail_on)

    def warm_up(self) -> None: ...

    def transcribe(self, audio: np.ndarray, options: DecodeOptions) -> Transcript:
        self.calls.append((len(audio), options))
        if len(self.calls) in self._fail_on:
            raise TranscriptionFailed("tones: told to fail")
        words = tuple(self._words(audio))
        segments = (Segment(words[0].start, words[-1].end, words),) if words else ()
        return Transcript(segments, options.language or "en", 0.9)

    def _words(self, audio: np.ndarray) -> list[Word]:
        loud = [level_db(audio[i : i + _SLICE]) > -40 for i in range(0, len(audio), _SLICE)]
        found, start = [], None
        for i, on in enumerate([*loud, False]):
            if on and start is None:
                start = i
            if not on and start is not None:
                found.append((start * _SLICE, min(i * _SLICE, len(audio))))
                start = None
        return [self._word(audio, first, end) for first, end in found]

    def _word(self, audio: np.ndarray, start: int, end: int) -> Word:
        piece = audio[start:end]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 16_000))
        number = round((int(spectrum.argmax()) - _LOWEST) / _STEP)
        if len(piece) < samples(0.2):
            number += 1
        return Word(WORDS[number % len(WORDS)], start, end, 0.9)
