"""Sinks by samples, and the loudspeaker over a PortAudio that the test drives."""

from __future__ import annotations

import gc
import sys
import types
import wave

import numpy as np
import pytest

from capibara.voice.errors import AudioError, VoiceUnavailable
from capibara.voice.loudspeaker import Loudspeaker
from capibara.voice.playback import ClockedSink, VirtualSink, WavSink

from .sink_conformance import RATE, SinkConformance, ramp


class TestVirtualSink(SinkConformance):
    @pytest.fixture
    def sink(self):
        return VirtualSink()

    def pass_time(self, sink, seconds):
        sink.advance(round(seconds * 16_000))


class TestWavSink(TestVirtualSink):
    @pytest.fixture
    def sink(self, tmp_path):
        return WavSink(tmp_path / "heard.wav")


class Device:
    """As sounddevice's OutputStream; time passes when the test says so."""

    def __init__(self, samplerate, channels, dtype, device, callback):
        self.rate, self.callback, self.active, self.latency = samplerate, callback, False, 0.02
        self.sound = []

    def start(self):
        self.active = True

    def run(self, seconds):
        for _ in range(round(seconds * 100)):
            out = np.ones((self.rate // 100, 1), np.float32)
            self.callback(out, len(out), None, None)
            self.sound.append(out[:, 0])

    def close(self):
        self.active = False


@pytest.fixture
def portaudio(monkeypatch):
    """A module ``sounddevice`` with one device."""
    module = types.ModuleType("sounddevice")
    module.PortAudioError = type("PortAudioError", (Exception,), {})
    module.streams = []

    def output_stream(**options):
        module.streams.append(Device(**options))
        return module.streams[-1]

    def query_devices(device=None, kind=None):
        if device == "none":
            raise module.PortAudioError("Error querying device -1")
        return [
            {"name": "Speakers", "max_input_channels": 0, "max_output_channels": 2},
            {"name": "Microphone", "max_input_channels": 1, "max_output_channels": 0},
        ]

    module.OutputStream, module.query_devices = output_stream, query_devices
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


class TestLoudspeaker(SinkConformance):
    @pytest.fixture
    def sink(self, portaudio):
        self.portaudio = portaudio
        return Loudspeaker()

    def pass_time(self, sink, seconds):
        for stream in self.portaudio.streams:
            stream.run(seconds)

    def test_what_is_written_sounds_and_the_rest_is_silence(self, sink):
        sink.write(ramp(RATE), RATE)
        self.pass_time(sink, 2.0)
        sound = np.concatenate(self.portaudio.streams[0].sound)
        assert np.array_equal(sound[:RATE], ramp(RATE))
        assert not sound[RATE:].any()

    def test_what_the_device_has_not_sounded_yet_is_not_heard(self, sink):
        sink.write(ramp(RATE), RATE)
        self.pass_time(sink, 0.5)
        assert sink.played() == RATE // 100 * 50 - round(0.02 * RATE)

    def test_a_device_that_went_away_is_one_line(self, sink):
        sink.write(ramp(10), RATE)
        self.portaudio.streams[0].active = False
        with pytest.raises(AudioError, match="went away"):
            sink.write(ramp(10), RATE)

    def test_a_device_that_does_not_open_is_one_line(self, sink):
        def refuse(**options):
            raise self.portaudio.PortAudioError("Invalid sample\nrate")

        self.portaudio.OutputStream = refuse
        with pytest.raises(AudioError, match=r"does not open \(Invalid sample rate\)"):
            sink.write(ramp(10), RATE)


def test_no_device_is_one_line_with_those_that_there_are(portaudio):
    with pytest.raises(VoiceUnavailable) as told:
        Loudspeaker("none")
    assert str(told.value) == "there is no loudspeaker (Error querying device -1; the devices are: Speakers)"


def test_no_library_is_one_line_that_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(VoiceUnavailable, match="pip install sounddevice"):
        Loudspeaker()


def test_time_that_passes_in_small_steps_is_not_lost():
    sink = VirtualSink()
    sink.write(ramp(RATE), RATE)
    for _ in range(1600):
        sink.advance(7)
    assert sink.played() == 7 * 1600 * RATE // 16_000
    assert isinstance(sink, ClockedSink)


def test_the_file_is_in_step_with_the_clock(tmp_path):
    sink = WavSink(tmp_path / "heard.wav")
    sink.advance(8_000)
    sink.write(ramp(RATE // 2), RATE)
    sink.advance(16_000)
    sink.close()
    with wave.open(str(tmp_path / "heard.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    assert len(samples) == pytest.approx(1.5 * RATE, abs=2)
    start = RATE // 2
    assert not samples[:start].any()
    assert np.allclose(samples[start : start + RATE // 2], ramp(RATE // 2), atol=1e-4)
    assert not samples[start + RATE // 2 :].any()


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_into_which_nobody_spoke_holds_no_sound(tmp_path, times):
    sink = WavSink(tmp_path / "heard.wav")
    for _ in range(times):
        sink.close()
    with wave.open(str(tmp_path / "heard.wav")) as file:
        assert file.getnframes() == 0


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_file_that_is_never_closed_is_let_go_without_complaint(tmp_path):
    sink = WavSink(tmp_path / "heard.wav")
    sink.itself = sink  # as in a traceback: what it holds goes in any order
    del sink
    gc.collect()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(AudioError, match="cannot be written"):
        WavSink(tmp_path / "no" / "heard.wav")
