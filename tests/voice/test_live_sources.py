"""Audio from a microphone and from a pipe. PortAudio is played by a stand-in; the microphone itself is ours."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from capibara.voice import (
    AudioFormat,
    Final,
    Microphone,
    MicrophoneError,
    RawAudio,
    StreamingTranscriber,
    transcribe_source,
)
from capibara.voice.errors import AudioError
from capibara.voice.values import Dropped

from .source_conformance import AudioSourceConformance
from .tones import ToneTranscriber, stream, tone_classifier

TALK = stream(0.5, "one two three")


class PortAudioError(Exception):
    pass


class PortAudio:
    """Does what sounddevice does: calls back with block after block from a thread, then says that it has ended."""

    PortAudioError = PortAudioError
    names: tuple[str, ...] = ()

    def __init__(self, audio: np.ndarray, rate: int = 16_000, fails: str = "", hurried: bool = False) -> None:
        self.data = (audio * 32_767).astype("<i2")
        self.rate, self.fails, self.hurried = rate, fails, hurried

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind is None:
            return [{"name": name, "max_input_channels": 1, "max_output_channels": 0} for name in self.names]
        if self.fails == "query":
            raise ValueError("No input device\nmatching 'x'")
        return {"default_samplerate": float(self.rate)}

    def RawInputStream(self, **options):
        return RecordingStream(self, options)


class RecordingStream:
    def __init__(self, backend: PortAudio, options: dict) -> None:
        self.backend, self.options, self.active = backend, options, False

    def start(self) -> None:
        if self.backend.fails == "start":
            raise PortAudioError("Device unavailable")
        self.active = True
        self.thread = threading.Thread(target=self._record, daemon=True)
        self.thread.start()
        if self.backend.hurried:
            self.thread.join()

    def _record(self) -> None:
        size = self.options["blocksize"]
        for at in range(0, len(self.backend.data), size):
            block = self.backend.data[at : at + size]
            self.options["callback"](block.tobytes(), len(block), None, SimpleNamespace(input_overflow=False))
        self.active = False
        self.options["finished_callback"]()

    def close(self) -> None:
        self.active = False


class TestRawAudio(AudioSourceConformance):
    seconds = 1.0

    @pytest.fixture
    def source(self):
        return RawAudio(io.BytesIO(bytes(44_100 * 4)), AudioFormat(44_100, 2))


def test_a_pipe_that_breaks_is_told():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(AudioError, match="Input/output error"):
        list(RawAudio(Broken(), AudioFormat()).blocks())


def test_what_a_microphone_heard_before_it_was_unplugged_is_told_before_the_error():
    microphone, told = Microphone(backend=PortAudio(TALK)), []
    streaming = StreamingTranscriber(
        ToneTranscriber(), audio_format=microphone.audio_format, classifier=tone_classifier()
    )

    def listen():
        for event in transcribe_source(streaming, microphone):
            told.append(event)
            yield event

    with pytest.raises(MicrophoneError, match="unplugged"):
        list(listen())
    assert [event.text for event in told if isinstance(event, Final)] == ["one two three"]


def test_audio_that_is_not_fetched_in_time_is_dropped_oldest_first_and_counted():
    microphone = Microphone(backend=PortAudio(TALK, hurried=True), buffer_seconds=0.3)
    streaming = StreamingTranscriber(
        ToneTranscriber(), audio_format=microphone.audio_format, classifier=tone_classifier()
    )
    events = []

    def listen():
        for event in transcribe_source(streaming, microphone):
            events.append(event)
            yield event

    with pytest.raises(MicrophoneError):
        list(listen())
    kept = 10 * 480 - (480 - len(TALK) % 480) % 480
    assert microphone.lost_samples == len(TALK) - kept
    assert [event.count for event in events if isinstance(event, Dropped)] == [len(TALK) - kept]
    assert streaming.metrics.audio_seconds_dropped == pytest.approx((len(TALK) - kept) / 16_000)


def test_closing_ends_the_recording_without_an_error():
    microphone = Microphone(backend=PortAudio(np.zeros(480 * 1_000)))
    blocks = microphone.blocks()
    assert len(next(blocks)) == 960
    microphone.close()
    microphone.close()
    assert all(len(block) == 960 for block in blocks)


@pytest.mark.parametrize("fails", ["query", "start"])
def test_a_microphone_that_is_not_there_is_told_in_one_line(fails):
    with pytest.raises(MicrophoneError) as told:
        list(Microphone(backend=PortAudio(TALK, fails=fails)).blocks())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "this machine has none"),
        (("Headset",), "the devices are: Headset"),
        (("Headset", "Webcam", "Headset"), "the devices are: Headset, Webcam"),
    ],
)
def test_where_the_microphone_is_unknown_those_that_there_are_are_named(names, told):
    backend = PortAudio(TALK, fails="query")
    backend.names = names
    with pytest.raises(MicrophoneError) as raised:
        Microphone("x", backend=backend)
    assert str(raised.value) == f"there is no microphone to record from (No input device matching 'x'; {told})"
