"""What is said of each frame: by webrtcvad, by Silero, and when Silero is asked."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.detection import FrameClassifier, level_db
from capibara.voice.protocols import SpeechDetector
from capibara.voice.silero import SileroDetector
from capibara.voice.webrtc import WebrtcDetector

FRAME = 512


def frames(audio: np.ndarray) -> list[np.ndarray]:
    return [audio[i : i + FRAME] for i in range(0, len(audio) - FRAME + 1, FRAME)]


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(3).normal(0, level, int(seconds * 16_000)).astype(np.float32)


class SpeechDetectorConformance:
    """What every `SpeechDetector` does."""

    @pytest.fixture
    def detector(self) -> SpeechDetector:
        raise NotImplementedError

    def test_it_gives_probabilities(self, detector):
        assert all(0.0 <= detector.probability(frame) <= 1.0 for frame in frames(noise(1)))

    def test_digital_silence_is_no_speech(self, detector):
        heard = [detector.probability(np.zeros(FRAME, np.float32)) for _ in range(50)]
        assert max(heard[5:]) < 0.2

    def test_after_a_reset_it_hears_as_for_the_first_time(self, detector):
        first = [detector.probability(frame) for frame in frames(noise(1))]
        detector.reset()
        assert [detector.probability(frame) for frame in frames(noise(1))] == first


class TestWebrtc(SpeechDetectorConformance):
    @pytest.fixture
    def detector(self):
        return WebrtcDetector(2)

    def test_every_sample_is_heard_though_frames_hold_no_whole_steps(self, detector):
        import webrtcvad

        audio = noise(2, 0.02) + np.sin(np.arange(32_000) * 0.1).astype(np.float32) * (np.arange(32_000) > 16_000) * 0.3
        scaled = (np.clip(audio, -1, 1) * 32767).astype("<i2")
        vad = webrtcvad.Vad(2)
        steps = [vad.is_speech(scaled[i : i + 160].tobytes(), 16_000) for i in range(0, 31_840, 160)]
        counts = [(i + 1) * FRAME // 160 - i * FRAME // 160 for i in range(62)]
        expected, at = [], 0
        for count in counts:
            expected.append(sum(steps[at : at + count]) / count)
            at += count
        assert [detector.probability(frame) for frame in frames(audio)] == pytest.approx(expected)


class TestSilero(SpeechDetectorConformance):
    @pytest.fixture
    def detector(self):
        return SileroDetector()

    def test_it_hears_what_faster_whisper_hears_in_the_whole(self, detector):
        from faster_whisper.vad import get_vad_model

        audio = noise(2)[: 60 * FRAME]
        heard = [detector.probability(frame) for frame in frames(audio)]
        whole = get_vad_model()(audio.copy()).ravel()  # which blanks the end of its last window
        assert heard[:-1] == pytest.approx(whole[:-1], abs=1e-5)


class Recorded:
    """A detector that follows a script and counts how often it was asked."""

    frame_samples = FRAME

    def __init__(self, *script: float) -> None:
        self.script, self.asked, self.resets = script, 0, 0

    def probability(self, frame: np.ndarray) -> float:
        self.asked += 1
        return self.script[(self.asked - 1) % len(self.script)]

    def reset(self) -> None:
        self.resets += 1


def classify(classifier: FrameClassifier, audio: np.ndarray, gate_open: bool = False) -> list[float]:
    return [classifier.classify(f, (i + 1) * FRAME, gate_open).speech for i, f in enumerate(frames(audio))]


def test_silero_is_not_asked_about_silence_however_long():
    second = Recorded(0.9)
    classifier = FrameClassifier(WebrtcDetector(1), second, -75.0)
    assert set(classify(classifier, np.zeros(60 * 16_000, np.float32))) == {0.0}
    assert second.asked == 0


def test_silero_is_not_asked_below_the_floor():
    second = Recorded(0.9)
    classify(FrameClassifier(Recorded(1.0), second, -75.0), noise(3, 1e-5))
    assert second.asked == 0


def test_silero_hears_what_came_before_it_was_asked_and_a_second_more():
    second = Recorded(0.8)
    script = [0.0] * 40 + [1.0] + [0.0] * 100
    classifier = FrameClassifier(Recorded(*script), second, -75.0)
    heard = classify(classifier, noise(141 * FRAME / 16_000 + 0.01))
    asked = [i for i, value in enumerate(heard) if value == 0.8]
    assert asked == list(range(40, 40 + 1 + 16_000 // FRAME))
    assert second.asked == len(asked) + 16
    assert second.resets == 1


def test_silero_is_asked_while_the_gate_is_open():
    second = Recorded(0.8)
    assert set(classify(FrameClassifier(Recorded(0.0), second, -75.0), noise(3), gate_open=True)) == {0.8}


@pytest.mark.parametrize(("vad", "expected"), [("none", {1.0}), ("webrtc", {0.0}), ("silero", {0.0})])
def test_the_settings_choose_the_detectors(vad, expected):
    assert set(classify(FrameClassifier.of(VoiceSettings(vad=vad)), np.zeros(16_000, np.float32))) == expected


@pytest.mark.parametrize(("amplitude", "expected"), [(0.0, -120), (1.0, 0), (0.1, -20)])
def test_levels_are_in_db_of_full_scale(amplitude, expected):
    assert level_db(np.full(FRAME, amplitude, np.float32)) == pytest.approx(expected, abs=1e-3)
