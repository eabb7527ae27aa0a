"""Audio from a pipe: a file of any kind as it arrives, or raw samples."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from .audio_files import AudioFile
from .errors import AudioError
from .protocols import AudioSource
from .raw_audio import RawAudio
from .values import AudioFormat

_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"\x1a\x45\xdf\xa3")
_MP4 = b"ftyp"
NAME = Path("standard input")


def open_pipe(pipe: BufferedReader, audio_format: AudioFormat) -> AudioSource:
    """What ``pipe`` carries: by its first bytes a WAV, FLAC, Ogg, MP3 or other file, else raw audio.

    Raises:
        AudioError: it carries nothing, or a file that cannot be read.
    """
    beginning = pipe.peek(16)[:16]
    if not beginning:
        raise AudioError(f"{NAME} is empty")
    if beginning.startswith(_BEGINNINGS) or beginning[4:8] == _MP4 or _is_mp3(beginning):
        return AudioFile(NAME, cast("BinaryIO", _AsItComes(pipe)))
    return RawAudio(pipe, audio_format)


def _is_mp3(beginning: bytes) -> bool:
    """The header of an MPEG audio frame, layer III, with a bit rate and a sampling rate."""
    if len(beginning) < 4 or beginning[0] != 0xFF or beginning[1] & 0xE6 != 0xE2:
        return False
    return beginning[2] >> 4 not in (0, 15) and beginning[2] >> 2 & 3 != 3


class _AsItComes:
    """Gives what has arrived, without waiting until all that was asked for has."""

    def __init__(self, pipe: BufferedReader) -> None:
        self._pipe = pipe

    def read(self, size: int) -> bytes:
        return self._pipe.read1(size)
