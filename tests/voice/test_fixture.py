"""The trained fixture through the real faster-whisper: word errors, word times, size."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

FIXTURE = Path(__file__).parent / "fixture"
RATE = 16_000
MANIFEST = json.loads((FIXTURE / "recordings" / "manifest.json").read_text(encoding="utf-8"))["recordings"]

faster_whisper = pytest.importorskip("faster_whisper")


@pytest.fixture(scope="module")
def model():
    return faster_whisper.WhisperModel(
        str(FIXTURE / "model"), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
    )


def audio_of(entry: dict) -> np.ndarray:
    return faster_whisper.decode_audio(str(FIXTURE / "recordings" / entry["file"]), sampling_rate=RATE)


def heard(model, audio: np.ndarray, language: str | None, **options) -> list:
    segments, _ = model.transcribe(
        audio, language=language, beam_size=1, temperature=0.0, condition_on_previous_text=False, **options
    )
    return list(segments)


@pytest.fixture(scope="module")
def timed(model):
    """The segments of a recording with word times, each decoded once for all tests: a decode costs a second."""
    decoded = {}

    def segments(entry: dict) -> list:
        if entry["file"] not in decoded:
            decoded[entry["file"]] = heard(model, audio_of(entry), entry["language"], word_timestamps=True)
        return decoded[entry["file"]]

    return segments


def words_of(text: str) -> list[str]:
    return re.sub(r"[^\w\s]|_", " ", unicodedata.normalize("NFC", text).lower().replace("'", "")).split()


def word_errors(said: list[str], got: list[str]) -> int:
    row = list(range(len(got) + 1))
    for i, word in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def word_error_rate(pairs: list[tuple[str, str]]) -> float:
    errors = sum(word_errors(words_of(said), words_of(got)) for said, got in pairs)
    return errors / sum(len(words_of(said)) for said, _ in pairs)


def test_folder_is_at_most_eight_megabytes():
    assert sum(path.stat().st_size for path in (FIXTURE / "model").iterdir()) <= 8_000_000


def test_recordings_are_at_most_a_megabyte_and_a_half():
    assert sum(path.stat().st_size for path in (FIXTURE / "recordings").iterdir()) <= 1_500_000


@pytest.mark.parametrize(("language", "most"), [("en", 0.10), ("es", 0.10)])
@pytest.mark.parametrize("timestamps", [False, True])
def test_word_error_rate_of_held_out_recordings_is_within_a_tenth(model, timed, language, most, timestamps):
    def segments(entry: dict) -> list:
        return timed(entry) if timestamps else heard(model, audio_of(entry), language, without_timestamps=True)

    entries = [entry for entry in MANIFEST if entry["language"] == language]
    pairs = [(entry["text"], "".join(segment.text for segment in segments(entry))) for entry in entries]
    assert word_error_rate(pairs) <= most, pairs


@pytest.mark.parametrize("seconds", [0.0, 0.7])
def test_word_times_ascend_and_lie_within_the_utterance(model, timed, seconds):
    """The first word's start is left out: faster-whisper's alignment puts it at the window's start."""
    silence = np.zeros(int(seconds * RATE), np.float32)
    for entry in MANIFEST[::2] if seconds else MANIFEST:
        audio = np.concatenate([silence, audio_of(entry)])
        found = heard(model, audio, entry["language"], word_timestamps=True) if seconds else timed(entry)
        words = [word for segment in found for word in segment.words or []]
        starts, ends = [w.start for w in words], [w.end for w in words]
        assert words
        assert starts == sorted(starts)
        assert all(start <= end for start, end in zip(starts, ends, strict=True))
        assert min([*starts[1:], *ends]) >= seconds + entry["start_sample"] / RATE - 0.1, entry["text"]
        assert max(ends) <= seconds + entry["end_sample"] / RATE + 0.3, entry["text"]


def test_word_times_are_near_those_of_the_synthesiser(timed):
    distances = []
    for entry in MANIFEST:
        words = [word for segment in timed(entry) for word in segment.words or []]
        if len(words) == len(entry["words"]):
            pairs = list(zip(words, entry["words"], strict=True))[1:]
            distances += [abs(w.start - told["start"]) for w, told in pairs]
    assert len(distances) >= 40
    assert np.median(distances) <= 0.12


@pytest.mark.parametrize("share", [0.45, 0.85])
def test_cut_audio_gives_the_words_spoken_so_far(model, share):
    """At most two words may be wrong at the cut itself; nothing is repeated or invented beyond it."""
    for entry in MANIFEST[::2] if share < 0.5 else MANIFEST[1::2]:
        cut = int(entry["start_sample"] + share * (entry["end_sample"] - entry["start_sample"]))
        spoken = " ".join(w["word"] for w in entry["words"] if w["end"] <= cut / RATE)
        got = "".join(s.text for s in heard(model, audio_of(entry)[:cut], entry["language"]))
        assert word_errors(words_of(spoken), words_of(got)) <= 3, (spoken, got)


def test_language_is_detected(model):
    right = 0
    for entry in MANIFEST:
        _, info = model.transcribe(audio_of(entry), beam_size=1, temperature=0.0)
        right += info.language == entry["language"]
    assert right >= len(MANIFEST) - 2


def test_silence_and_noise_are_told_from_speech(model):
    rng = np.random.default_rng(1)
    for audio in (np.zeros(2 * RATE), 0.05 * rng.standard_normal(3 * RATE)):
        found = heard(model, audio.astype(np.float32), "en", log_prob_threshold=None, no_speech_threshold=0.5)
        assert found == []
