"""Audio files: the good, the broken, and those that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from capibara.voice import AudioError, AudioFile, Final, StreamingTranscriber, transcribe_source
from capibara.voice.pcm import PcmDecoder

from .source_conformance import AudioSourceConformance
from .tones import ToneTranscriber, stream, tone_classifier

SPEECH = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "speech"
TALK = stream(0.5, "one two three", 1.0)


def wav(audio: np.ndarray, rate: int = 16_000, channels: int = 1, size: int | None = None, kind: str = "<i2") -> bytes:
    """A WAV file; ``size``: what its header says of its length, true or not."""
    whole = 127 if kind == "|u1" else 32_767 if kind == "<i2" else 1
    scaled = (audio * whole + (128 if kind == "|u1" else 0)).astype(kind)
    data = np.repeat(scaled[:, None], channels, axis=1).tobytes()
    bits, told = np.dtype(kind).itemsize * 8, len(data) if size is None else size
    code = 3 if kind == "<f4" else 1
    layout = struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    header = b"RIFF" + struct.pack("<I", (36 + told) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + layout
    return header + b"data" + struct.pack("<I", told & 0xFFFFFFFF) + data


def heard(path: Path) -> np.ndarray:
    file = AudioFile(path)
    decoder = PcmDecoder(file.audio_format)
    try:
        return np.concatenate([np.zeros(0, np.float32), *[decoder.decode(block) for block in file.blocks()]])
    finally:
        file.close()


def refusal(path: Path) -> str:
    with pytest.raises(AudioError) as refused:
        heard(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


class TestWav(AudioSourceConformance):
    seconds = len(TALK) / 16_000

    @pytest.fixture
    def source(self, tmp_path):
        (tmp_path / "talk.wav").write_bytes(wav(TALK, channels=2))
        return AudioFile(tmp_path / "talk.wav")


@pytest.mark.parametrize("kind", ["<i2", "<f4", "|u1", "<i4"])
@pytest.mark.parametrize("channels", [1, 2, 32])
def test_samples_of_every_kind_are_heard_alike(tmp_path, kind, channels):
    path = tmp_path / "a.wav"
    audio = TALK if kind != "<i4" else TALK * 2**31
    path.write_bytes(wav(audio, channels=channels, kind=kind))
    assert np.abs(heard(path) - TALK).max() < 0.02


@pytest.mark.parametrize("size", [10**9, 0xFFFFFFFF, 0])
def test_a_header_that_lies_about_its_length_does_no_harm(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(TALK, size=size))
    assert len(heard(path)) == len(TALK)


def test_a_header_with_nothing_after_it_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(TALK[:0]))
    assert path.stat().st_size == 44
    assert refusal(path) == f"{path} holds no audio"


def test_a_file_that_is_closed_before_it_is_read_is_not_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(TALK))
    file = AudioFile(tmp_path / "a.wav")
    file.close()
    assert list(file.blocks()) == []


def test_a_last_sample_that_is_cut_in_half_is_left_out(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(TALK)[:-1])
    assert len(heard(path)) == len(TALK) - 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.wav", b"Dear diary, today I went to the station. " * 50, "not an audio file"),
        ("empty.wav", b"", "empty.wav is empty"),
        ("0hz.wav", wav(TALK, rate=0), "not an audio file"),
        ("none.wav", wav(TALK)[:22] + b"\0\0" + wav(TALK)[24:], "0 channels"),
        ("many.wav", wav(TALK[:100], channels=200), "200 channels"),
        ("noise.mp3", bytes(range(256)) * 40, "noise.mp3"),
    ],
)
def test_what_is_no_audio_is_refused_with_its_name_and_the_reason(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert str(tmp_path / name) in message
    assert said in message


def test_files_that_are_not_there_and_folders_are_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "a.wav")
    assert "is a folder" in refusal(tmp_path)


def test_samples_that_are_no_numbers_and_clipped_noise_do_no_harm(tmp_path):
    audio = TALK.copy()
    audio[:4_000] = np.random.default_rng(1).normal(0, 5, 4_000)
    audio[1_000:1_100] = np.nan
    path = tmp_path / "a.wav"
    path.write_bytes(wav(audio, kind="<f4"))
    assert np.isfinite(heard(path)).all()
    assert np.abs(heard(path)).max() <= 1.0
    assert transcribed(path)[-1].endswith("two three")


def transcribed(path: Path) -> list[str]:
    file = AudioFile(path)
    streaming = StreamingTranscriber(ToneTranscriber(), audio_format=file.audio_format, classifier=tone_classifier())
    return [event.text for event in transcribe_source(streaming, file) if isinstance(event, Final)]


@pytest.mark.skipif(not SPEECH.is_dir(), reason=f"{SPEECH} is not there")
@pytest.mark.parametrize("name", ["malformed/bad.wav", "malformed/evil.wav"])
def test_files_made_to_break_readers_are_refused(name):
    assert "not an audio file" in refusal(SPEECH / name)


@pytest.mark.skipif(not SPEECH.is_dir(), reason=f"{SPEECH} is not there")
@pytest.mark.parametrize(
    ("name", "seconds"), [("jfk.flac", 11.0), ("fleurs/fleurs-fr-000.ogg", 10.2), ("multilingual-en-de.mp3", 59.9)]
)
def test_flac_opus_and_mp3_are_read(name, seconds):
    file = AudioFile(SPEECH / name)
    assert sum(len(b) for b in file.blocks()) / file.audio_format.sample_rate == pytest.approx(seconds, abs=0.1)
    file.close()
