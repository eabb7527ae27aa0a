"""Joins utterances to turns: what was said, and when the speaker is done."""

from __future__ import annotations

from ..config.schema import VoiceSettings
from .endpointing import Endpointer, TurnEnd
from .values import EndOfTurn


class Turns:
    """Numbers the turns of a stream. A turn in which no word was understood is none, and ends without an event."""

    def __init__(self, settings: VoiceSettings) -> None:
        self._endpointer = Endpointer(settings)
        self._texts: dict[int, str] = {}
        self._language = ""
        self.current = 1
        self.told_at = 0.0
        """Stream time, in seconds, when the latest final was told."""

    def adopt(self, settings: VoiceSettings) -> None:
        """Utterances that start from now on have the delays of ``settings``."""
        self._endpointer.adopt(settings)

    def started(self, utterance: int, start: int, decided: int) -> None:
        self._texts[utterance] = ""
        self._endpointer.started(utterance, start, decided)

    def stopped(self, utterance: int, speech_end: int) -> None:
        self._endpointer.stopped(utterance, speech_end)

    def heard(self, utterance: int, text: str) -> None:
        """The committed words so far: what a turn holds that ends without a final."""
        if utterance in self._texts:
            self._texts[utterance] = text

    def transcribed(self, utterance: int, text: str, language: str, at: float) -> None:
        self.heard(utterance, text)
        self._language, self.told_at = language, at
        self._endpointer.transcribed(utterance, text, language)

    def ended(self, now: int) -> list[EndOfTurn]:
        """The turns that have ended by sample ``now``."""
        events = []
        while (end := self._endpointer.check(now)) is not None:
            events += self._event(end)
        return events

    def finish(self, now: int) -> list[EndOfTurn]:
        events = self.ended(now)
        end = self._endpointer.finish(now)
        return events + (self._event(end) if end is not None else [])

    def _event(self, end: TurnEnd) -> list[EndOfTurn]:
        text = " ".join(filter(None, (self._texts.pop(utterance) for utterance in end.utterances)))
        if not text:
            return []
        event = EndOfTurn(self.current, end.sample, end.speech_end, text, self._language, end.utterances)
        self.current += 1
        return [event]
