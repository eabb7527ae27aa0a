"""The speech model and the voice of each snapshot."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..config.schema import Settings, VoiceSettings
from ..config.subscribers import Objection

if TYPE_CHECKING:
    from ..voice.protocols import Synthesizer, Transcriber

_OF_THE_MODEL = ("model", "device", "compute", "threads")
"""The settings of ``[voice]`` that choose a speech model and how it is run."""


class SpeechModel:
    """A speech model that several states of the settings may name; opened once. Thread-safe."""

    def __init__(self, settings: VoiceSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._transcriber: Transcriber | None = None

    @property
    def asked(self) -> bool:
        return self._transcriber is not None

    def is_named_by(self, settings: VoiceSettings) -> bool:
        """``settings`` ask for this model, run in this way."""
        return all(getattr(settings, name) == getattr(self.settings, name) for name in _OF_THE_MODEL)

    def transcriber(self) -> Transcriber:
        """See `SpeechPart.transcriber`."""
        from ..voice.models import open_transcriber

        with self._lock:
            if self._transcriber is None:
                self._transcriber = open_transcriber(self.settings)
            return self._transcriber


class SpeechPart:
    """The speech model of one state of the settings; the state ``before`` shares it if it names the same."""

    def __init__(self, settings: VoiceSettings, before: SpeechPart | None = None) -> None:
        shared = before.model if before is not None and before.model.is_named_by(settings) else None
        self.model = shared or SpeechModel(settings)

    def transcriber(self) -> Transcriber:
        """Light until it is used.

        Raises:
            SpeechModelNotFound: it is not on this machine.
        """
        return self.model.transcriber()


class SpeechModels:
    """The `Subscriber` for the speech model and the language it is to know."""

    name = "speech"
    keys = (*(f"voice.{name}" for name in _OF_THE_MODEL), "voice.language")

    def check(self, settings: Settings) -> Iterable[Objection]:
        """A GPU that is named must be there, and what finds it."""
        if settings.voice.device == "cuda":
            try:
                from ctranslate2 import get_cuda_device_count
            except ImportError:
                missing = "cuda needs ctranslate2, which faster-whisper brings"
                yield Objection("voice.device", f"{missing}: pip install faster-whisper, or set it to cpu or auto")
                return
            if not get_cuda_device_count():
                yield Objection("voice.device", "no GPU for CUDA is found here: set it to cpu or auto")

    def prepare(self, settings: Settings, before: SpeechPart | None) -> SpeechPart:
        """At the start nothing is looked for. Later, a model in use gives way to one that is loaded.

        While none is in use, one that is newly named must be there, unless it is the default: not everybody speaks.
        """
        from ..voice.errors import ComputeUnsupported, VoiceError
        from ..voice.models import find_speech_model

        part = SpeechPart(settings.voice, before)
        if before is None:
            return part
        named = settings.voice.model
        try:
            if before.model.asked:
                self._require_language(part.transcriber(), settings.voice)
            elif named not in (before.model.settings.model, VoiceSettings.model_fields["model"].default):
                find_speech_model(named)
        except ComputeUnsupported as error:
            raise Objection("voice.compute", str(error)) from error
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
