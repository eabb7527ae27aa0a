"""The loudspeaker, through sounddevice (PortAudio); optional."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from jaxtyping import Float32

from .devices import on_line, reason, sounddevice
from .errors import AudioError, VoiceUnavailable
from .playback import SampleQueue


class Loudspeaker:
    """An `AudioSink` on ``device`` (a name or number as PortAudio has it; none: the system's own)."""

    def __init__(self, device: str | int | None = None) -> None:
        """Raises VoiceUnavailable: sounddevice, PortAudio or a device for output is missing."""
        self._backend = sounddevice("a loudspeaker")
        self._device = device
        try:
            self._backend.query_devices(device, "output")
        except (self._backend.PortAudioError, ValueError) as error:
            raise VoiceUnavailable(f"there is no loudspeaker ({reason(error, self._backend, 'output')})") from error
        self._lock = threading.Lock()
        self._queue = SampleQueue()
        self._stream: Any = None
        self._rate = 0
        self._paused = False
        self._silent = 0
        """Frames of silence since the last speech."""

    def write(self, samples: Float32[np.ndarray, " S"], sample_rate: int) -> None:
        """As `AudioSink.write`; the device is opened with the first.

        Raises:
            AudioError: the device does not open, went away, or the sample rate changed.
        """
        if self._stream is None:
            self._open(sample_rate)
        elif sample_rate != self._rate:
            raise AudioError(f"speech at {sample_rate} Hz after speech at {self._rate} Hz; use one voice rate")
        elif not self._stream.active:
            raise AudioError("the loudspeaker went away; answers are shown only")
        with self._lock:
            self._queue.put(samples)

    def _open(self, sample_rate: int) -> None:
        try:
            stream = self._backend.OutputStream(
                samplerate=sample_rate, channels=1, dtype="float32", device=self._device, callback=self._fill
            )
            stream.start()
        except (self._backend.PortAudioError, ValueError) as error:
            raise AudioError(f"the loudspeaker does not open ({on_line(error)}); answers are shown only") from error
        self._stream, self._rate = stream, sample_rate

    def _fill(self, out: np.ndarray, frames: int, _time: object, _status: object) -> None:
        """PortAudio asks for the next ``frames``, on a thread of its own."""
        with self._lock:
            taken = self._queue.take(0 if self._paused else frames)
            self._silent = self._silent + frames - len(taken) if not len(taken) else frames - len(taken)
        out[: len(taken), 0] = taken
        out[len(taken) :] = 0

    def played(self) -> int:
        """What was handed to the device, less what it has not sounded yet."""
        with self._lock:
            latency = round(self._stream.latency * self._rate) if self._stream is not None else 0
            return max(0, self._queue.played - max(0, latency - self._silent))

    def pause(self) -> None:
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()
            self._paused = False

    def close(self) -> None:
        self.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
