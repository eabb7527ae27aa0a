"""What an utterance is heard with, from its first sample to its final transcript; the next may have other terms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from ..config.schema import VoiceSettings
from .detection import FrameClassifier
from .language import LanguageLock
from .protocols import Transcriber
from .values import DecodeOptions, samples


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The settings of an utterance, and what was made of them."""

    settings: VoiceSettings
    transcriber: Transcriber
    hotwords: tuple[str, ...]
    classifier: FrameClassifier
    language: LanguageLock

    @classmethod
    def of(
        cls,
        settings: VoiceSettings,
        transcriber: Transcriber,
        hotwords: tuple[str, ...] = (),
        classifier: FrameClassifier | None = None,
    ) -> Terms:
        """``hotwords`` and ``classifier`` stand in for those of ``settings``.

        Raises:
            VoiceUnavailable: a detector that the settings ask for is not installed.
        """
        detectors = classifier or FrameClassifier.of(settings)
        return cls(settings, transcriber, hotwords or settings.hotwords, detectors, LanguageLock(settings.language))

    def after(self, before: Terms) -> Terms:
        """These terms with what ``before`` has heard and learned, where it still holds."""
        old, new = before.settings, self.settings
        same_ears = (old.vad, old.aggressiveness, old.rms_floor_db) == (new.vad, new.aggressiveness, new.rms_floor_db)
        same_language = old.language == new.language and before.transcriber is self.transcriber
        return replace(
            self,
            classifier=before.classifier if same_ears else self.classifier,
            language=before.language if same_language else self.language,
        )

    @property
    def partial_every(self) -> int:
        """Samples of new speech between two partials."""
        return samples(self.settings.partial_seconds)

    @property
    def longest_window(self) -> int:
        """Samples that are decoded again and again at most."""
        return samples(self.settings.window_seconds)

    def options(self, *, final: bool) -> DecodeOptions:
        return DecodeOptions(self.language.language, self.hotwords, final=final, beam=self.settings.beam)


class Succession:
    """The terms in force, and those that were adopted at some sample of the stream and wait for an utterance to end."""

    def __init__(self, terms: Terms) -> None:
        self.now = terms
        self._coming: deque[tuple[int, Terms]] = deque()

    @property
    def latest(self) -> Terms:
        return self._coming[-1][1] if self._coming else self.now

    def adopt(self, terms: Terms, sample: int, at: int) -> None:
        """From ``sample`` on, ``terms`` are those of the next utterance; the stream was looked at up to ``at``."""
        if sample <= at:
            self._coming.clear()
        self._coming.append((sample, terms))

    def advance(self, at: int) -> Terms | None:
        """Put in force what was adopted last by sample ``at``, and give the terms before; None: nothing was adopted."""
        coming: Terms | None = None
        while self._coming and self._coming[0][0] <= at:
            _, coming = self._coming.popleft()
        if coming is None:
            return None
        before, self.now = self.now, coming.after(self.now)
        return before
