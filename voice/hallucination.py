"""Which segments of a transcript to believe: speech models make up words for noise, and fall into loops."""

from __future__ import annotations

from .hypothesis import normal
from .values import SAMPLE_RATE, Segment, Word

_NO_SPEECH = 0.6
_UNLIKELY = -1.0
_ODDS_WORDS = 8
_REPEATS = 4
_REPEATS_OF_ONE = 6


def believable(segment: Segment) -> bool:
    """False for a segment without words, one the model itself doubts, and one whose words have impossible lengths.

    The score of a word's oddness is that of faster-whisper's ``hallucination_silence_threshold``, after
    https://github.com/openai/whisper/pull/1838.
    """
    if not segment.words:
        return False
    if segment.no_speech_probability > _NO_SPEECH and segment.average_logprob < _UNLIKELY:
        return False
    looked_at = segment.words[:_ODDS_WORDS]
    odd = sum(_oddness(word) for word in looked_at)
    return not (odd >= 3 or odd + 0.01 >= len(looked_at)) or segment.average_logprob >= _UNLIKELY / 2


def without_loops(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """``words`` where the same one to four words, said over and over, stay once. One word counts from six times on."""
    said = [normal(word.text) for word in words]
    for length in range(1, 5):
        for start in range(len(words) - length + 1):
            repeats = 1
            while said[start : start + length] == said[start + repeats * length : start + (repeats + 1) * length]:
                repeats += 1
            if repeats >= (_REPEATS_OF_ONE if length == 1 else _REPEATS):
                return without_loops(words[: start + length] + words[start + repeats * length :])
    return words


def _oddness(word: Word) -> float:
    duration = (word.end - word.start) / SAMPLE_RATE
    return (word.probability < 0.15) + max(0.0, 0.133 - duration) * 15 + max(0.0, duration - 2.0)
