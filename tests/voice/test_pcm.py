"""Raw audio of any layout becomes mono samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capibara.voice.errors import AudioFormatError
from capibara.voice.pcm import PcmDecoder
from capibara.voice.values import AudioFormat


def tone(samples: int) -> np.ndarray:
    return (np.sin(np.arange(samples) * 0.05) * 20_000).astype("<i2")


@pytest.mark.parametrize(("encoding", "size"), [("s16le", 2), ("f32le", 4)])
@pytest.mark.parametrize("channels", [1, 2, 32])
@given(cuts=st.lists(st.integers(0, 400), max_size=8))
def test_pieces_that_end_within_a_sample_give_the_same_audio(encoding, size, channels, cuts):
    data = tone(10 * channels)
    raw = data.tobytes() if encoding == "s16le" else (data / np.float32(32768)).astype("<f4").tobytes()
    whole = PcmDecoder(AudioFormat(channels=channels, encoding=encoding)).decode(raw)
    decoder = PcmDecoder(AudioFormat(channels=channels, encoding=encoding))
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [decoder.decode(raw[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(whole) == 10


def test_channels_are_averaged():
    decoder = PcmDecoder(AudioFormat(channels=2))
    assert decoder.decode(np.array([[0.5, -0.5], [0.25, 0.75]])).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "data", [np.array([0.5, -0.5]), np.array([16384, -16384], np.int16), np.array([[0.5], [-0.5]], np.float64)]
)
def test_arrays_of_floats_and_int16_are_taken(data):
    assert PcmDecoder(AudioFormat()).decode(data).tolist() == [0.5, -0.5]


def test_samples_that_are_no_numbers_become_silence_and_are_counted():
    decoder = PcmDecoder(AudioFormat(encoding="f32le"))
    assert decoder.decode(np.array([np.nan, np.inf, -np.inf, 0.5], "<f4").tobytes()).tolist() == [0, 0, 0, 0.5]
    assert decoder.invalid_samples == 3


def test_samples_beyond_full_scale_are_clipped_and_counted():
    decoder = PcmDecoder(AudioFormat())
    assert decoder.decode(np.array([2.0, -30_000.0, 1.0])).tolist() == [1.0, -1.0, 1.0]
    assert decoder.clipped_samples == 2


def test_a_last_sample_that_never_became_whole_is_counted():
    decoder = PcmDecoder(AudioFormat())
    assert len(decoder.decode(b"\0\0\0")) == 1
    decoder.finish()
    assert decoder.incomplete_bytes == 1


@pytest.mark.parametrize("data", [np.array([1, 2]), np.zeros((2, 3, 4)), np.zeros((2, 65)), np.array(["a"])])
def test_arrays_that_hold_no_audio_are_refused(data):
    with pytest.raises(AudioFormatError, match="array of"):
        PcmDecoder(AudioFormat()).decode(data)


@pytest.mark.parametrize(
    "options",
    [
        {"sample_rate": 0},
        {"sample_rate": -1},
        {"sample_rate": 10**7},
        {"channels": 0},
        {"channels": 65},
        {"encoding": "x"},
    ],
)
def test_formats_that_no_audio_has_are_refused(options):
    with pytest.raises(AudioFormatError):
        AudioFormat(**options)
