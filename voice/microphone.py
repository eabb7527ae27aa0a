"""The microphone, through sounddevice (PortAudio); optional."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from .devices import on_line, reason, sounddevice
from .errors import MicrophoneError
from .values import AudioFormat

_BLOCK_SECONDS = 0.03
_POLL_SECONDS = 1.0


class Microphone:
    """Records while `blocks` is read; what nobody fetches for ``buffer_seconds`` is dropped, oldest first, and counted.

    Args:
        device: a name or number as PortAudio has it; None: the system's own.
        sample_rate: in Hz; None: the device's own.
        backend: the module ``sounddevice``, or what stands in for it.

    Raises:
        VoiceUnavailable: sounddevice or PortAudio is missing.
        MicrophoneError: there is no such device, or it cannot record.
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        sample_rate: int | None = None,
        buffer_seconds: float = 30.0,
        backend: Any = None,
    ) -> None:
        self._backend = backend or sounddevice("a microphone")
        self._blocks: deque[bytes] = deque(maxlen=max(1, round(buffer_seconds / _BLOCK_SECONDS)))
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self.lost_samples = 0
        """Samples dropped so far, at the device's rate."""
        try:
            rate = sample_rate or int(self._backend.query_devices(device, "input")["default_samplerate"])
            self._stream = self._backend.RawInputStream(
                samplerate=rate,
                blocksize=int(rate * _BLOCK_SECONDS),
                device=device,
                channels=1,
                dtype="int16",
                callback=self._record,
                finished_callback=self._end,
            )
        except (self._backend.PortAudioError, ValueError) as error:
            raise MicrophoneError(
                f"there is no microphone to record from ({reason(error, self._backend, 'input')})"
            ) from error
        self.audio_format = AudioFormat(rate, 1, "s16le")

    def blocks(self) -> Iterator[bytes]:
        """What is recorded, until `close`.

        Raises:
            MicrophoneError: the device went away.
        """
        try:
            self._stream.start()
        except self._backend.PortAudioError as error:
            raise MicrophoneError(f"the microphone does not start ({on_line(error)})") from error
        while (block := self._next()) is not None:
            yield block

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._stream.close()

    def _next(self) -> bytes | None:
        """The next block; None once closed."""
        with self._changed:
            while not self._blocks:
                if self._closed:
                    return None
                if self._ended or not self._stream.active:
                    raise MicrophoneError("the microphone stopped; it may have been unplugged")
                self._changed.wait(_POLL_SECONDS)
            return self._blocks.popleft()

    def _record(self, data: Any, frames: int, _time: Any, status: Any) -> None:
        with self._changed:
            if len(self._blocks) == self._blocks.maxlen:
                self.lost_samples += len(self._blocks[0]) // 2
            if status.input_overflow:
                self.lost_samples += frames
            self._blocks.append(bytes(data))
            self._changed.notify()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
