"""The gate on recorded speech: no utterance lost, no word cut, nothing but speech let through."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice import AudioFormat, StreamingTranscriber
from capibara.voice.detection import FrameClassifier
from capibara.voice.gate import Closed, Gate, GateRules, Opened
from capibara.voice.metrics import MetricsCollector
from capibara.voice.stream_input import StreamInput

from .tones import ToneTranscriber

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT.parent / "shared" / "data" / "speech"
CLIPS = (
    "fleurs/fleurs-es-001.wav",
    "fleurs/fleurs-en-003.wav",
    "fleurs/fleurs-en-006.wav",
    "leopard/test.wav",
    "leopard/test_es.wav",
    "jfk.wav",
    "goforward.wav",
    "ljspeech/LJ001-0002.wav",
    "librispeech/6930-75918-0000.flac",
    "cards/001.wav",
    "commands/living_room_light_es.wav",
    "librivox/sense_and_sensibility_01_austen_64kb-0880.wav",
)

pytestmark = pytest.mark.skipif(not SPEECH.is_dir(), reason=f"{SPEECH} is not there")


@pytest.fixture(scope="module")
def streams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("speech_streams", ROOT / "benchmarks" / "speech_streams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clips(streams):
    return streams.read_clips(SPEECH, CLIPS)


def kept(audio: np.ndarray, settings: VoiceSettings) -> list[tuple[int, int]]:
    """Spans of audio that the gate lets through."""
    source = StreamInput(AudioFormat(), FrameClassifier.of(settings), MetricsCollector())
    gate, changes = Gate(GateRules.of(settings)), []
    source.push(audio)
    while (frame := source.next_frame(gate.is_open)) is not None:
        changes += gate.step(frame)
    changes += gate.stop("end", len(audio))
    starts = [change.audio_start for change in changes if isinstance(change, Opened)]
    return list(zip(starts, [c.audio_end for c in changes if isinstance(c, Closed)], strict=True))


@pytest.mark.parametrize("noise_db", [None, 20])
def test_no_utterance_is_lost_and_no_first_or_last_word_is_cut(streams, clips, noise_db):
    conversation = streams.conversation(clips, noise_db=noise_db)
    spans = kept(conversation.audio, VoiceSettings())
    for clip, (whole, first, last) in zip(clips, streams.lost_energy(conversation, spans), strict=True):
        assert whole < 0.01, clip.name
        assert max(first, last) < 0.05, clip.name
    passed = sum(end - start for start, end in spans) / len(conversation.audio)
    assert passed < 0.6


def test_noise_alone_is_never_transcribed(streams):
    transcriber = ToneTranscriber()
    streaming = StreamingTranscriber(transcriber)
    assert streaming.feed(streams.read_audio(SPEECH / "negative" / "empty.wav")) == []
    assert streaming.finish() == []
    assert transcriber.calls == []


@pytest.mark.parametrize("level", [0.001, 0.03, 0.3])
def test_white_noise_of_any_level_is_never_transcribed(level):
    transcriber = ToneTranscriber()
    streaming = StreamingTranscriber(transcriber)
    noise = np.random.default_rng(0).normal(0, level, 20 * 16_000)
    assert streaming.feed(noise) + streaming.finish() == []
    assert transcriber.calls == []


def test_webrtcvad_alone_takes_noise_for_speech_which_is_why_silero_is_asked(streams):
    noise = streams.read_audio(SPEECH / "negative" / "empty.wav")
    assert kept(noise, VoiceSettings(vad="webrtc")) != []
    assert kept(noise, VoiceSettings(vad="silero")) == []
