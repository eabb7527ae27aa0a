"""Raw audio of any layout, in pieces of any size, to mono float32: what a stream is fed with."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from .errors import AudioFormatError
from .values import MAX_CHANNELS, AudioFormat


class PcmDecoder:
    """Turns raw frames into mono samples; keeps the bytes of a frame that a piece of audio ends in the middle of.

    Samples that are not numbers become 0, those beyond full scale are clipped; both are counted.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.audio_format = audio_format
        self.invalid_samples = 0
        self.clipped_samples = 0
        self.incomplete_bytes = 0
        self._rest = b""

    def decode(self, data: bytes | bytearray | memoryview | np.ndarray) -> Float32[np.ndarray, " S"]:
        """The mono samples of ``data``: raw bytes, or an array [S] or [S, channels] of floats or int16.

        Raises:
            AudioFormatError: an array of another type or shape.
        """
        frames = self._from_array(data) if isinstance(data, np.ndarray) else self._from_bytes(bytes(data))
        return self._sane(frames).mean(axis=1, dtype=np.float32)

    def finish(self) -> None:
        """Count the bytes of a last frame that never became whole."""
        self.incomplete_bytes += len(self._rest)
        self._rest = b""

    def _from_bytes(self, data: bytes) -> Float32[np.ndarray, "S C"]:
        data = self._rest + data
        whole = len(data) - len(data) % self.audio_format.bytes_per_frame
        self._rest = data[whole:]
        if self.audio_format.encoding == "s16le":
            flat = np.frombuffer(data, "<i2", whole // 2).astype(np.float32) / 32768
        else:
            flat = np.frombuffer(data, "<f4", whole // 4)
        return flat.reshape(-1, self.audio_format.channels)

    def _from_array(self, data: np.ndarray) -> Float32[np.ndarray, "S C"]:
        if data.dtype == np.int16:
            data = data.astype(np.float32) / 32768
        elif not np.issubdtype(data.dtype, np.floating):
            raise AudioFormatError(f"an array of {data.dtype}; give int16 or floats between -1 and 1")
        if data.ndim == 1:
            if len(data) % self.audio_format.channels:
                count = self.audio_format.channels
                raise AudioFormatError(f"{len(data)} samples are not whole frames of {count} channels")
            data = data.reshape(-1, self.audio_format.channels)
        if data.ndim != 2 or not 1 <= data.shape[1] <= MAX_CHANNELS:
            raise AudioFormatError(f"an array of shape {list(data.shape)}; give [samples] or [samples, channels]")
        return data.astype(np.float32)

    def _sane(self, frames: Float32[np.ndarray, "S C"]) -> Float32[np.ndarray, "S C"]:
        wrong = ~np.isfinite(frames)
        if wrong.any():
            self.invalid_samples += int(wrong.sum())
            frames = np.where(wrong, np.float32(0), frames)
        beyond = np.abs(frames) > 1.0
        if beyond.any():
            self.clipped_samples += int(beyond.sum())
            frames = np.clip(frames, -1.0, 1.0)
        return frames
