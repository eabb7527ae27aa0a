"""Streams whose settings change between two pieces of audio: how tests open and feed them, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replaced

import numpy as np

from capibara.config.schema import VoiceSettings
from capibara.voice import Final, StreamingTranscriber, VoiceEvent

from .tones import ToneTranscriber, stream, tone_classifier

SECOND = 16_000


class Loud(ToneTranscriber):
    """Another model: it writes in capitals."""

    def _word(self, audio, start, end):
        word = super()._word(audio, start, end)
        return replaced(word, text=word.text.upper())


@dataclass(frozen=True)
class Change:
    """What a stream adopts between two pieces of audio."""

    settings: VoiceSettings
    transcriber: ToneTranscriber | None = None
    hotwords: tuple[str, ...] = ()

    def apply(self, streaming: StreamingTranscriber) -> None:
        streaming.adopt(self.settings, transcriber=self.transcriber, hotwords=self.hotwords)


def change(*, to: ToneTranscriber | None = None, words: tuple[str, ...] = (), **options) -> Change:
    return Change(VoiceSettings(**options), to, words)


def opened(transcriber=None, *, detectors: bool = False, **options) -> StreamingTranscriber:
    """With the detectors of its settings, or with one that takes every sound for speech."""
    classifier = None if detectors else tone_classifier()
    return StreamingTranscriber(transcriber or ToneTranscriber(), VoiceSettings(**options), classifier=classifier)


def fed(streaming: StreamingTranscriber, *steps: np.ndarray | Change, piece: int = 1_600) -> list[VoiceEvent]:
    events: list[VoiceEvent] = []
    for step in steps:
        if isinstance(step, Change):
            step.apply(streaming)
        else:
            for at in range(0, len(step), piece):
                events += streaming.feed(step[at : at + piece])
    return events + streaming.finish()


def only(kind: type, events: list[VoiceEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


def texts(events: list[VoiceEvent]) -> list[str]:
    return [final.text for final in only(Final, events)]


FIRST, SECOND_HALF = stream(0.6, "one two three", 0.1), stream("four five six", 1.5)
"""One utterance in two pieces."""
LATER = stream("seven eight nine", 1.5)
