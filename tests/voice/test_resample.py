"""Any rate becomes 16 kHz, the same however the audio is cut."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.voice.resample import open_resampler

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]


def tone(rate: int, hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def resampled(audio: np.ndarray, rate: int, piece: int) -> np.ndarray:
    resampler = open_resampler(rate)
    pieces = [resampler.process(audio[i : i + piece]) for i in range(0, len(audio), piece)]
    return np.concatenate([*pieces, resampler.finish()])


@pytest.mark.parametrize("rate", RATES)
def test_the_result_does_not_depend_on_the_pieces(rate):
    audio = np.random.default_rng(1).normal(0, 0.1, rate).astype(np.float32)
    whole = resampled(audio, rate, len(audio))
    assert abs(len(whole) - 16_000) <= 1
    for piece in (1 + rate // 999, rate // 100, rate // 3):
        assert np.array_equal(resampled(audio, rate, piece), whole)


@pytest.mark.parametrize("rate", RATES)
def test_sound_stays_where_it_was(rate):
    heard, expected = resampled(tone(rate, 440), rate, 999), tone(16_000, 440)
    assert np.abs(heard[500:15_500] - expected[500:15_500]).max() < 0.01


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_sound_that_16_khz_cannot_hold_is_taken_out_and_not_folded_back(rate):
    assert np.abs(resampled(tone(rate, 12_000), rate, 777)[500:15_500]).max() < 0.001
