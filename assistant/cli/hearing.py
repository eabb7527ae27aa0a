"""What the voice commands share: the audio they hear, and what is wrong usage of it or of the speech model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .failures import WRONG_USAGE, Failure
from .output import name_on_line, note

if TYPE_CHECKING:
    import threading

    from ...voice.audio_files import AudioFile
    from ...voice.raw_audio import RawAudio
    from ...voice.values import AudioFormat


def open_audio(file: Path, raw: AudioFormat | None, stop: threading.Event) -> AudioFile | RawAudio:
    """``file``, or standard input for ``-``, which ends where ``stop`` is set.

    ``raw`` is how samples on standard input are laid out; None: as usual, which is said where it comes to that.

    Raises:
        AudioError: it cannot be read.
    """
    from ...voice.audio_files import AudioFile
    from ...voice.raw_audio import RawAudio
    from ...voice.standard_input import open_pipe
    from ...voice.values import AudioFormat

    if not is_standard_input(file):
        return AudioFile(file)
    usual = AudioFormat()
    source = open_pipe(sys.stdin.buffer, raw or usual, stop)  # type: ignore[arg-type]
    if raw is None and isinstance(source, RawAudio) and not stop.is_set():
        note(
            "capibara: standard input is no audio file, and is taken as raw 16-bit samples "
            f"at {usual.sample_rate} Hz, {usual.channels} channel"
        )
    return source


def is_standard_input(file: Path) -> bool:
    return str(file) == "-"


def audio_name(file: Path) -> str:
    """What messages call ``file``: its path as it was given."""
    return "standard input" if is_standard_input(file) else name_on_line(str(file))


def note_silence(file: Path) -> None:
    """Nobody speaks in ``file``."""
    note(f"capibara: {audio_name(file)}: no speech found")


@contextlib.contextmanager
def impossible_is_wrong_usage() -> Iterator[None]:
    """An option or a setting that no audio, speech model or machine can follow is wrong usage, not a failure."""
    from ...voice.errors import AudioFormatError, ComputeUnsupported, LanguageUnknown

    try:
        yield
    except (AudioFormatError, ComputeUnsupported, LanguageUnknown) as error:
        raise Failure(str(error), exit_code=WRONG_USAGE, kind=type(error).__name__) from error
