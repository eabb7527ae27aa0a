"""Audio from a pipe: a file of any kind as it arrives, or raw samples."""

from __future__ import annotations

import select
import threading
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from .audio_files import AudioFile
from .errors import AudioError
from .raw_audio import RawAudio
from .values import AudioFormat

_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"\x1a\x45\xdf\xa3")
_MP4 = b"ftyp"
_POLL_SECONDS = 0.1
NAME = Path("standard input")


def open_pipe(
    pipe: BufferedReader, audio_format: AudioFormat, stop: threading.Event | None = None
) -> AudioFile | RawAudio:
    """What ``pipe`` carries: by its first bytes a WAV, FLAC, Ogg, MP3 or other file, else raw audio.

    Waits for those bytes. Once ``stop`` is set the pipe counts as ended, also while nothing comes.

    Raises:
        AudioError: it carries nothing, or a file that cannot be read.
    """
    arriving = _Arriving(pipe, stop or threading.Event())
    beginning = arriving.beginning(16)
    if not beginning and not arriving.stopped:
        raise AudioError(f"{NAME} is empty")
    if beginning.startswith(_BEGINNINGS) or beginning[4:8] == _MP4 or _is_mp3(beginning):
        return AudioFile(NAME, cast("BinaryIO", arriving))
    return RawAudio(cast("BinaryIO", arriving), audio_format)


def _is_mp3(beginning: bytes) -> bool:
    """The header of an MPEG audio frame, layer III, with a bit rate and a sampling rate."""
    if len(beginning) < 4 or beginning[0] != 0xFF or beginning[1] & 0xE6 != 0xE2:
        return False
    return beginning[2] >> 4 not in (0, 15) and beginning[2] >> 2 & 3 != 3


class _Arriving:
    """The bytes of a pipe as they come, without waiting until all that was asked for have; none once ``stop`` is set.

    It goes round the pipe's buffer: a thread that waited in that would hold its lock, and keep Python from ending.
    """

    def __init__(self, pipe: BufferedReader, stop: threading.Event) -> None:
        self._pipe, self._stop = pipe, stop
        self._looked_at = b""
        try:
            self._descriptor: int | None = pipe.fileno()
        except OSError:  # bytes in memory, which keep nobody waiting
            self._descriptor = None

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def beginning(self, size: int) -> bytes:
        """The first ``size`` bytes, or all where there are fewer; `read` gives them again."""
        while len(self._looked_at) < size and (more := self._next(size - len(self._looked_at))):
            self._looked_at += more
        return self._looked_at

    def read(self, size: int) -> bytes:
        taken, self._looked_at = self._looked_at[:size], self._looked_at[size:]
        return taken or self._next(size)

    def _next(self, size: int) -> bytes:
        while not self._stop.is_set():
            if self._descriptor is None or select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
                return self._pipe.raw.read(size) or b""
        return b""
