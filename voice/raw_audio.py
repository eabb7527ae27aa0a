"""Raw audio from an open file, such as standard input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from .errors import AudioError
from .values import AudioFormat

_MOST = 65_536


class RawAudio:
    """Headerless audio as ``audio_format`` lays it out, given as it arrives; it is the caller who closes ``file``."""

    def __init__(self, file: BinaryIO, audio_format: AudioFormat) -> None:
        self._file = file
        self.audio_format = audio_format

    def blocks(self) -> Iterator[bytes]:
        """Raises AudioError: the file cannot be read."""
        read = getattr(self._file, "read1", self._file.read)
        try:
            while data := read(_MOST):
                yield data
        except OSError as error:
            raise AudioError(f"reading audio broke off ({error.strerror or error})") from error

    def close(self) -> None:
        """Nothing to let go of."""
