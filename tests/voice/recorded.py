"""The recordings beside the fixture, and a transcriber that knows them by their exact samples, without mistakes."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from capibara.voice.audio_files import AudioFile
from capibara.voice.values import SAMPLE_RATE, DecodeOptions, Segment, Transcript, Word, samples

FOLDER = Path(__file__).with_name("fixture") / "recordings"
_NEEDLE = 24


@lru_cache
def manifest() -> dict[str, dict]:
    """The recordings by the beginning of their text."""
    rows = json.loads((FOLDER / "manifest.json").read_text("utf-8"))["recordings"]
    return {row["text"]: row for row in rows}


@lru_cache
def recording(beginning: str) -> np.ndarray:
    """The samples of the recording whose text begins so, without the silence around the speech: 16 kHz, int16."""
    [row] = [row for text, row in manifest().items() if text.startswith(beginning)]
    blocks = [block[:, 0] for block in AudioFile(FOLDER / row["file"]).blocks()]
    whole = np.round(np.concatenate(blocks) * 32768).astype(np.int16)
    return whole[row["start_sample"] : row["end_sample"]]


def audio(*parts: str | float) -> np.ndarray:
    """Recordings, by the beginning of their text, and seconds of silence, one after the other."""
    pieces = [recording(part) if isinstance(part, str) else np.zeros(samples(part), np.int16) for part in parts]
    return np.concatenate(pieces)


class KnownRecordings:
    """A `Transcriber` that hears the words of the recordings it ``knows``; of all others it hears none."""

    name = "known recordings"
    languages = ("en", "es")

    def __init__(self, *knows: str) -> None:
        self._words: list[tuple[bytes, int, Word]] = []
        self._language: dict[str, str] = {}
        for beginning in knows:
            [row] = [row for text, row in manifest().items() if text.startswith(beginning)]
            sound = recording(beginning)
            for word in row["words"]:
                start, end = (samples(word[side]) - row["start_sample"] for side in ("start", "end"))
                middle = (start + max(end, start + _NEEDLE)) // 2
                needle = sound[middle : middle + _NEEDLE].tobytes()
                self._words.append((needle, middle, Word(word["word"], start, end)))
                self._language[word["word"]] = row["language"]

    def warm_up(self) -> None:
        """Nothing to load."""

    def transcribe(self, audio: np.ndarray, options: DecodeOptions) -> Transcript:
        sound = np.round(audio * 32768).astype(np.int16).tobytes()
        found = []
        for needle, middle, word in self._words:
            if (at := sound.find(needle)) >= 0 and at % 2 == 0:
                begin = at // 2 - middle
                start, end = (min(max(0, begin + side), len(audio)) for side in (word.start, word.end))
                found.append(Word(word.text, start, end))
        words = tuple(sorted(found, key=lambda word: word.start))
        language = self._language[words[0].text] if words else options.language or "en"
        return Transcript((Segment(0, len(audio), words),) if words else (), language)


def seconds_of(beginning: str) -> float:
    return len(recording(beginning)) / SAMPLE_RATE
