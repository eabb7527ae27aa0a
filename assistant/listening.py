"""The speech model and the voice of each snapshot."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..config.schema import Settings, VoiceSettings
from ..config.subscribers import Objection

if TYPE_CHECKING:
    from ..voice.protocols import Synthesizer, Transcriber


class SpeechPart:
    """The speech model that one state of the settings names, and its language. Thread-safe."""

    def __init__(self, settings: VoiceSettings) -> None:
        self.model_settings = _model_of(settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._transcriber: Transcriber | None = None

    @property
    def asked(self) -> bool:
        return self._transcriber is not None

    def transcriber(self) -> Transcriber:
        """Light until it is used.

        Raises:
            SpeechModelNotFound: it is not on this machine.
        """
        from ..voice.models import open_transcriber

        with self._lock:
            if self._transcriber is None:
                self._transcriber = open_transcriber(self._settings)
            return self._transcriber

    def followed_by(self, settings: VoiceSettings) -> SpeechPart:
        """The part for other settings; the model stays where they name the same."""
        part = SpeechPart(settings)
        if part.model_settings == self.model_settings:
            part._transcriber = self._transcriber
        return part


class SpeechModels:
    """The `Subscriber` for the speech model and the language it is to know."""

    name = "speech"
    keys = ("voice.model", "voice.device", "voice.compute", "voice.threads", "voice.language")

    def check(self, settings: Settings) -> Iterable[Objection]:
        """A GPU that is named must be there."""
        if settings.voice.device == "cuda":
            from ctranslate2 import get_cuda_device_count

            if not get_cuda_device_count():
                yield Objection("voice.device", "no GPU for CUDA is found here: set it to cpu or auto")

    def prepare(self, settings: Settings, before: SpeechPart | None) -> SpeechPart:
        """At the start nothing is looked for. Later, another model must be there; one in use is loaded first."""
        from ..voice.errors import VoiceError
        from ..voice.models import find_speech_model

        if before is None:
            return SpeechPart(settings.voice)
        part = before.followed_by(settings.voice)
        try:
            if before.asked:
                self._require_language(part.transcriber(), settings.voice)
            elif part.model_settings != before.model_settings:
                find_speech_model(settings.voice.model)
        except VoiceError as error:
            raise Objection("voice.model", str(error)) from error
        return part

    def _require_language(self, transcriber: Transcriber, settings: VoiceSettings) -> None:
        transcriber.warm_up()
        known = transcriber.languages
        if settings.language is not None and settings.language not in known:
            named = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
            raise Objection("voice.language", f"{settings.model} does not know {settings.language}; it knows {named}")

    def activate(self, part: SpeechPart) -> None:
        """Nothing to do: streams ask for it."""

    def retire(self, part: SpeechPart) -> None:
        """The model goes with the last reference to the part; an utterance under way holds one."""


class VoicePart:
    """What speaks under one state of the settings. Thread-safe."""

    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: tuple[Synthesizer | None] | None = None

    @property
    def asked(self) -> bool:
        return self._opened is not None

    def synthesizer(self) -> Synthesizer | None:
        """None where the settings say so.

        Raises:
            VoiceUnavailable: there is nothing to speak with.
        """
        from ..voice.synthesis import open_synthesizer

        with self._lock:
            if self._opened is None:
                self._opened = (open_synthesizer(self._settings),)
            return self._opened[0]


class Voices:
    """The `Subscriber` for what speaks answers."""

    name = "voice"
    keys = ("voice.synthesizer", "voice.piper_voice", "voice.speech_rate")

    def check(self, settings: Settings) -> Iterable[Objection]:  # noqa: ARG002 -- only opening a voice tells
        return ()

    def prepare(self, settings: Settings, before: VoicePart | None) -> VoicePart:
        """At the start nothing is looked for. Later, what takes the place of a voice in use is loaded first."""
        from ..voice.errors import VoiceError

        part = VoicePart(settings.voice)
        if before is not None and before.asked:
            try:
                if (synthesizer := part.synthesizer()) is not None:
                    synthesizer.warm_up()
            except VoiceError as error:
                raise Objection("voice.synthesizer", str(error)) from error
        return part

    def activate(self, part: VoicePart) -> None:
        """Nothing to do: conversations ask for it."""

    def retire(self, part: VoicePart) -> None:
        """The voice goes with the last reference to the part; an answer under way holds one."""


def _model_of(settings: VoiceSettings) -> tuple[object, ...]:
    return (settings.model, settings.device, settings.compute, settings.threads)
