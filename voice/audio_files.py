"""Audio files of any kind, block by block, through PyAV (FFmpeg's libraries, which faster-whisper brings)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import Float32

from .errors import AudioError, VoiceUnavailable
from .values import MAX_CHANNELS, AudioFormat

if TYPE_CHECKING:
    import av
    import av.error
    from av.audio.frame import AudioFrame
    from av.container import InputContainer


class AudioFile:
    """A WAV, FLAC, MP3, Ogg or other file; decoded as it is read, so that its length costs no memory.

    Blocks are floats [samples, channels] at the file's own rate. A header that lies about the length does no harm: the
    audio ends where the file does. Damaged parts are skipped. Where ``file`` is given, it is read as it arrives, and
    ``path`` only names it.

    Raises:
        AudioError: no such file, no audio in it, or nothing that can be decoded; says which.
        VoiceUnavailable: PyAV is not installed.
    """

    def __init__(self, path: Path | str, file: BinaryIO | None = None) -> None:
        try:
            import av.error
        except ImportError as error:
            raise VoiceUnavailable("reading audio files needs PyAV: pip install av") from error
        self._av = av
        self._path = path = Path(path).expanduser()
        self._guard = threading.Lock()
        self._reading = self._closed = False
        self._container = self._open(path, file)
        try:
            self.audio_format, self.seconds = self._describe()
        except AudioError:
            self._container.close()
            raise

    @property
    def path(self) -> Path:
        return self._path

    def blocks(self) -> Iterator[Float32[np.ndarray, "S C"]]:
        """The audio, once.

        Raises:
            AudioError: there is none: nothing after the header, or nothing that could be decoded.
        """
        decoded = broken = 0
        for frame in self._guarded_frames():
            if frame is None:
                broken += 1
                continue
            decoded += 1
            yield _floats(frame, self.audio_format.channels)
        if broken and not decoded:
            raise AudioError(f"{self._path}: damaged; nothing in it could be decoded")
        if not decoded and not self._closed:
            raise AudioError(f"{self._path} holds no audio")

    def close(self) -> None:
        """May be called while another thread reads: that ends with the block in work."""
        with self._guard:
            self._closed = True
            if not self._reading:
                self._container.close()

    def _guarded_frames(self) -> Iterator[AudioFrame | None]:
        """The frames until `close`; FFmpeg crashes where a file is closed while a frame is decoded."""
        with self._guard:
            if self._closed:
                return
            self._reading = True
        try:
            for frame in self._frames():
                if self._closed:
                    return
                yield frame
        finally:
            with self._guard:
                self._reading = False
                if self._closed:
                    self._container.close()

    def _open(self, path: Path, file: BinaryIO | None) -> InputContainer:
        if file is None and path.is_dir():
            raise AudioError(f"{path} is a folder; give an audio file")
        try:
            return self._av.open(file or str(path), mode="r", metadata_errors="ignore")
        except FileNotFoundError:
            raise AudioError(f"{path} does not exist") from None
        except PermissionError:
            raise AudioError(f"{path} may not be read") from None
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            if file is None and path.is_file() and path.stat().st_size == 0:
                raise AudioError(f"{path} is empty") from None
            raise AudioError(f"{path}: not an audio file that can be read ({_reason(error)})") from error

    def _describe(self) -> tuple[AudioFormat, float | None]:
        if not self._container.streams.audio:
            raise AudioError(f"{self._path} holds no audio")
        stream = self._container.streams.audio[0]
        rate, channels = stream.rate or 0, stream.channels or 0
        if rate <= 0 or not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"{self._path}: {rate} Hz and {channels} channels; that is no audio that can be heard")
        length = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        return AudioFormat(rate, channels, "f32le"), length

    def _frames(self) -> Iterator[AudioFrame | None]:
        """Frames in the stream's rate; None for a packet that could not be decoded."""
        frames = self._container.decode(audio=0)
        stream = self._container.streams.audio[0]
        resampler: av.AudioResampler | None = None
        while True:
            try:
                frame = next(frames)
            except (StopIteration, self._av.error.EOFError):
                return
            except self._av.error.InvalidDataError:
                yield None
                continue
            except self._av.error.FFmpegError as error:
                raise AudioError(f"{self._path}: reading broke off ({_reason(error)})") from error
            if frame.sample_rate == stream.rate:
                yield frame
                continue
            resampler = resampler or self._av.AudioResampler(rate=stream.rate)
            frame.pts = None
            yield from resampler.resample(frame)


def _floats(frame: AudioFrame, channels: int) -> Float32[np.ndarray, "S C"]:
    """``frame`` as [samples, channels] in -1..1, whatever its sample format."""
    array = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif array.dtype in (np.int16, np.int32):
        array = array.astype(np.float32) / (32768.0 if array.dtype == np.int16 else 2147483648.0)
    array = array.astype(np.float32)
    if array.shape[1] != channels:
        array = np.repeat(array.mean(axis=1, keepdims=True), channels, axis=1)
    return array


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
