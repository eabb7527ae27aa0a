"""Keeps the speech model that the settings name, one for all streams."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..config.schema import VoiceSettings

if TYPE_CHECKING:
    from ..voice.protocols import Transcriber
    from ..voice.shared import SharedTranscription


class SpeechModels:
    """Opens the model when it is first needed, and anew when the settings name another. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[tuple[object, ...], Transcriber] | None = None
        self._shared: dict[tuple[object, ...], SharedTranscription] = {}
        """By model; streams of an earlier one may still be open."""

    def transcriber(self, settings: VoiceSettings) -> Transcriber:
        """The model for ``settings``, light until it is used.

        Raises:
            SpeechModelNotFound: it is not on this machine.
        """
        with self._lock:
            return self._transcriber(settings)

    def shared(self, settings: VoiceSettings) -> SharedTranscription:
        """What gives live streams of the model for ``settings``.

        Raises:
            SpeechModelNotFound: it is not on this machine.
        """
        from ..voice.shared import SharedTranscription

        with self._lock:
            key = _model_of(settings)
            if key not in self._shared:
                self._shared[key] = SharedTranscription(self._transcriber(settings), settings)
            return self._shared[key]

    def close(self) -> None:
        """Let the models go; streams that are open end with an error."""
        with self._lock:
            for shared in self._shared.values():
                shared.close()
            self._shared.clear()
            self._opened = None

    def _transcriber(self, settings: VoiceSettings) -> Transcriber:
        from ..voice.models import open_transcriber

        key = _model_of(settings)
        if self._opened is None or self._opened[0] != key:
            self._opened = (key, open_transcriber(settings))
        return self._opened[1]


def _model_of(settings: VoiceSettings) -> tuple[object, ...]:
    return (settings.model, settings.compute, settings.threads, settings.beam)
