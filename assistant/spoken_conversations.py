"""Begins spoken conversations over one assistant."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config.generation import Snapshot
from ..voice.protocols import AudioSink, Synthesizer, Transcriber
from ..voice.shared import SharedTranscription
from ..voice.speaking import Speaker
from ..voice.values import AudioFormat
from .converse import Audio, SpokenConversation
from .voice_setup import VoiceSetups

if TYPE_CHECKING:
    from .assistant import Assistant


class SpokenConversations:
    """Owner of what spoken conversations share: the thread that decodes for all live streams. Thread-safe."""

    def __init__(self, assistant: Assistant, latest: Callable[[str], Snapshot]) -> None:
        """``latest`` gives what a conversation sees at the moment."""
        self._assistant = assistant
        self._latest = latest
        self._lock = threading.Lock()
        self._shared: SharedTranscription | None = None

    def begin(
        self,
        audio: Audio,
        sink: AudioSink | None,
        audio_format: AudioFormat | None,
        collection: str | None,
        conversation: str,
        synthesizer: Synthesizer | None,
        listening: Transcriber | SharedTranscription | None,
        *,
        live: bool,
        paced: bool,
    ) -> SpokenConversation:
        """See `Assistant.converse`."""
        own = listening.transcriber if isinstance(listening, SharedTranscription) else listening
        setups = VoiceSetups(
            lambda: self._latest(conversation), transcriber=own, synthesizer=synthesizer, spoken=sink is not None
        )
        first = setups.latest()
        if listening is None:
            listening = self._shared_thread() if live else first.transcriber
        ahead = first.settings.voice.speech_ahead_seconds
        return SpokenConversation(
            self._assistant,
            audio,
            audio_format or getattr(audio, "audio_format", AudioFormat()),
            listening,
            Speaker(first.synthesizer, sink, ahead) if sink is not None else None,
            collection=collection,
            conversation=conversation,
            paced=paced,
            latest=setups.latest,
        )

    def close(self) -> None:
        """Streams that are open end with an error."""
        with self._lock:
            if self._shared is not None:
                self._shared.close()
                self._shared = None

    def _shared_thread(self) -> SharedTranscription:
        with self._lock:
            if self._shared is None:
                self._shared = SharedTranscription()
            return self._shared
