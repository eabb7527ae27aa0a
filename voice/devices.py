"""The devices for sound as sounddevice (PortAudio) has them, in words."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from .errors import VoiceUnavailable


def sounddevice(purpose: str) -> Any:
    """The module, for ``purpose``, such as ``a microphone``.

    Raises:
        VoiceUnavailable: sounddevice or PortAudio is missing.
    """
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise VoiceUnavailable(f"{purpose} needs sounddevice: pip install sounddevice") from error
    except OSError as error:
        raise VoiceUnavailable(f"sounddevice does not load ({error}): install PortAudio (libportaudio2)") from error


def reason(error: Exception, backend: Any, kind: Literal["input", "output"]) -> str:
    """Why a device for ``kind`` cannot be used, and the names of those that there are; one line."""
    try:
        devices = backend.query_devices()
    except backend.PortAudioError:
        devices = ()
    names = dict.fromkeys(device["name"] for device in devices if device[f"max_{kind}_channels"] > 0)
    there_are = f"the devices are: {', '.join(names)}" if names else "this machine has none"
    return f"{on_line(error)}; {there_are}"


def on_line(error: Exception) -> str:
    return " ".join(str(error).split())
