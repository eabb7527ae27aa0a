"""What a spoken conversation runs on at one moment: the settings, and the speech model and voice they ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.schema import Settings
from ..voice.protocols import Synthesizer, Transcriber


@dataclass(frozen=True, slots=True, eq=False)
class VoiceSetup:
    """One snapshot; another one is another object. ``synthesizer`` None: answers are text alone."""

    settings: Settings
    transcriber: Transcriber
    synthesizer: Synthesizer | None = None
