"""Whether this machine can do what settings ask for, found without loading anything."""

from __future__ import annotations

from collections.abc import Iterable

from ..config.schema import Settings
from ..config.subscribers import Objection
from .listening import SpeechModels
from .loading import LanguageModels


class Machine:
    """The `Subscriber` that makes nothing and checks everything: devices, models that are named, memory."""

    name = "machine"
    keys = ()

    def check(self, settings: Settings) -> Iterable[Objection]:
        """What stands against ``settings``. A default model that is not installed does not: answers are quotes then."""
        language = LanguageModels()
        yield from SpeechModels().check(settings)
        try:
            absent = tuple(language.check(settings))
            yield from absent
            if not absent and (settings.model.path != "default" or settings.model.draft != "none"):
                language.require(settings.model)
        except Objection as objection:
            yield objection
        finally:
            language.close()

    def prepare(self, settings: Settings, before: None) -> None:
        """Nothing."""

    def activate(self, part: None) -> None:
        """Nothing."""

    def retire(self, part: None) -> None:
        """Nothing."""
