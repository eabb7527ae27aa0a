"""The packages that the extras `voice` and `microphone` bring: which of them are missing, and how to get those."""

from __future__ import annotations

import importlib.util

from .errors import VoiceUnavailable

_SPEECH = {"faster_whisper": "faster-whisper", "webrtcvad": "webrtcvad-wheels", "soxr": "soxr"}
_SOUND = {"sounddevice": "sounddevice"}


def require_packages(*, microphone: bool = False) -> None:
    """That speech can be understood here, and with ``microphone`` recorded; nothing is imported.

    Raises:
        VoiceUnavailable: a package is not installed; one line with the command that installs all that are missing.
    """
    needed = _SPEECH | (_SOUND if microphone else {})
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise VoiceUnavailable(f"{', '.join(missing)} {are} not installed: pip install {' '.join(missing)}")
