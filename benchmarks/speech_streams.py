"""Streams of real speech with exact silences and noise, and where the speech in them is; for `voice.py` and the tests.

The truth is found without a voice detector: speech is where the sound is periodic like a voice, and the loud sound that
touches it. The recordings hold knocks, rumble and room noise too, which are not speech.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capibara.voice import AudioFile
from capibara.voice.pcm import PcmDecoder
from capibara.voice.resample import open_resampler

RATE = 16_000
LEVEL = 0.05
_STEP = 160
_WINDOW = 640
_FFT = 2048


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording at 16 kHz, brought to one level (RMS 0.05); speech lies from sample ``start`` to ``end``."""

    name: str
    text: str
    language: str
    audio: np.ndarray
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Clips with silence between them. ``clean`` is without noise; ``spans`` is where each clip's speech is."""

    audio: np.ndarray
    clean: np.ndarray
    clips: tuple[Clip, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> float:
        return len(self.audio) / RATE


def read_audio(path: Path) -> np.ndarray:
    """All of ``path`` as mono float32 at 16 kHz."""
    file = AudioFile(path)
    decoder, resampler = PcmDecoder(file.audio_format), open_resampler(file.audio_format.sample_rate)
    pieces = [resampler.process(decoder.decode(block)) for block in file.blocks()]
    file.close()
    return np.concatenate([*pieces, resampler.finish()])


def read_clips(folder: Path, names: Sequence[str]) -> list[Clip]:
    """Recordings of the manifest in ``folder``; their speech is looked for."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    by_path = {row["path"]: row for row in rows}
    clips = []
    for name in names:
        audio, row = read_audio(folder / name), by_path[name]
        audio = np.clip(audio * (LEVEL / float(np.sqrt(np.mean(audio**2)))), -1, 1).astype(np.float32)
        clips.append(Clip(name, row["transcript"] or "", row["language"], audio, *speech_extent(audio)))
    return clips


def conversation(
    clips: Sequence[Clip], *, noise_db: float | None = 20, silence_share: float = 0.5, seed: int = 0
) -> Stream:
    """``clips`` with silences of random lengths between them, in white noise ``noise_db`` below the speech."""
    random = np.random.default_rng(seed)
    spoken = sum(len(clip.audio) for clip in clips)
    weights = random.uniform(0.5, 1.5, len(clips) + 1)
    gaps = weights / weights.sum() * spoken * silence_share / (1 - silence_share)
    pieces, spans, at = [], [], 0
    for gap, clip in zip(gaps, clips, strict=False):
        pieces += [np.zeros(round(gap), np.float32), clip.audio]
        at += round(gap)
        spans.append((at + clip.start, at + clip.end))
        at += len(clip.audio)
    clean = np.concatenate([*pieces, np.zeros(round(gaps[-1]), np.float32)])
    noise = 0.0 if noise_db is None else random.normal(0, LEVEL * 10 ** (-noise_db / 20), len(clean))
    return Stream((clean + noise).astype(np.float32), clean, tuple(clips), tuple(spans))


def speech_extent(audio: np.ndarray) -> tuple[int, int]:
    """First and last sample of speech: periodic like a voice, or loud and touching that for up to 0.3 s."""
    band = _without_rumble(audio)
    windows = np.lib.stride_tricks.sliding_window_view(band, _WINDOW)[::_STEP]
    level = 10 * np.log10(np.mean(windows**2, axis=1) + 1e-12)
    loud = level > level.max() - 30
    voiced = np.convolve((_periodicity(windows) > 0.7) & loud, np.ones(4), "same") >= 4
    where = np.flatnonzero(voiced)
    first, last = int(where[0]), int(where[-1])
    for _ in range(30):
        first -= first > 0 and bool(loud[first - 1])
        last += last + 1 < len(loud) and bool(loud[last + 1])
    return first * _STEP + _WINDOW // 2, last * _STEP + _WINDOW // 2


def lost_energy(stream: Stream, kept: Sequence[tuple[int, int]]) -> list[tuple[float, float, float]]:
    """Of each clip: the share of its energy outside the ``kept`` spans; of all of it, its first and its last 0.3 s."""
    mask = np.zeros(len(stream.clean), bool)
    for start, end in kept:
        mask[start:end] = True
    band = _without_rumble(stream.clean) ** 2
    edge = round(0.3 * RATE)
    lost = []
    for start, end in stream.spans:
        parts = ((start, end), (start, min(end, start + edge)), (max(start, end - edge), end))
        lost.append(tuple(float(band[a:b][~mask[a:b]].sum() / band[a:b].sum()) for a, b in parts))
    return lost


def words_of(text: str) -> list[str]:
    """``text`` as words to compare: no case, no punctuation."""
    kept = "".join(" " if unicodedata.category(c)[0] in "PSZ" and c != "'" else c for c in text.casefold())
    return kept.replace("'", "").split()


def word_errors(expected: str, heard: str) -> tuple[int, int]:
    """Word edit distance, and the number of words expected."""
    left, right = words_of(expected), words_of(heard)
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, 1):
        above, row = row, [i]
        for j, other in enumerate(right, 1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[j - 1] + 1))
    return row[-1], len(left)


def _without_rumble(audio: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(audio)
    spectrum[np.fft.rfftfreq(len(audio), 1 / RATE) < 100] = 0
    return np.fft.irfft(spectrum, len(audio))


def _periodicity(windows: np.ndarray) -> np.ndarray:
    """Of each window: the highest normalised autocorrelation at a voice's periods (70-400 Hz), after Boersma 1993."""
    taper = np.hanning(_WINDOW)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, _FFT)) ** 2)[:_FFT]
    power = np.abs(np.fft.rfft(windows * taper, _FFT, axis=1)) ** 2
    correlation = np.fft.irfft(power, axis=1)
    lags = np.arange(RATE // 400, RATE // 70)
    scaled = correlation[:, lags] / (correlation[:, :1] + 1e-12) / (own[lags] / own[0])
    return scaled.max(axis=1)
