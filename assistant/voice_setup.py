"""What a spoken conversation runs on at one moment: the settings, and the speech model and voice they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..config.generation import Snapshot
from ..config.schema import Settings
from ..voice.protocols import Synthesizer, Transcriber


@dataclass(frozen=True, slots=True, eq=False)
class VoiceSetup:
    """One snapshot; another one is another object. ``synthesizer`` None: answers are text alone."""

    settings: Settings
    transcriber: Transcriber
    synthesizer: Synthesizer | None = None


class VoiceSetups:
    """The setup for each snapshot that a conversation sees.

    A ``transcriber`` or ``synthesizer`` of the caller's stays, whatever the settings say; ``spoken`` is False where
    there is nothing to play speech on.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        transcriber: Transcriber | None = None,
        synthesizer: Synthesizer | None = None,
        spoken: bool,
    ) -> None:
        self._snapshot = snapshot
        self._transcriber, self._synthesizer = transcriber, synthesizer
        self._spoken = spoken
        self._made: tuple[Snapshot, VoiceSetup] | None = None

    def latest(self) -> VoiceSetup:
        """The same object until the settings change.

        Raises:
            SpeechModelNotFound: the speech model is not on this machine.
            VoiceUnavailable: there is nothing to speak with.
        """
        snapshot = self._snapshot()
        if self._made is None or self._made[0] is not snapshot:
            self._made = (snapshot, self._make(snapshot))
        return self._made[1]

    def _make(self, snapshot: Snapshot) -> VoiceSetup:
        synthesizer = self._synthesizer
        if synthesizer is None and self._spoken:
            synthesizer = snapshot.parts["voice"].synthesizer()
        return VoiceSetup(snapshot.settings, self._transcriber or snapshot.parts["speech"].transcriber(), synthesizer)
