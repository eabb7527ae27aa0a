"""Where speech begins and ends in a stream: a state machine over what is known of each frame, without the audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..config.schema import VoiceSettings
from .values import SAMPLE_RATE, samples

FRAME = 512
"""Samples of a frame (32 ms), the length that Silero takes."""

_CUT_LOOKBACK = 2 * SAMPLE_RATE // FRAME


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of one frame. ``speech``: the probability that it is speech; ``level_db``: its RMS."""

    end: int
    level_db: float
    speech: float


@dataclass(frozen=True, slots=True)
class GateRules:
    """The gate's settings, in samples and frames. See `VoiceSettings` for their meaning."""

    opening: float
    closing: float
    floor_db: float
    voiced_frames: int
    recent_frames: int
    pre_roll: int
    tail: int
    hangover: int
    longest: int
    always: bool = False
    """Let everything through, cut at the greatest length."""

    @classmethod
    def of(cls, settings: VoiceSettings) -> GateRules:
        voiced = max(1, -(-samples(settings.min_voiced_seconds) // FRAME))
        return cls(
            opening=settings.opening_threshold,
            closing=min(settings.closing_threshold, settings.opening_threshold),
            floor_db=settings.rms_floor_db,
            voiced_frames=voiced,
            recent_frames=3 * voiced,
            pre_roll=samples(settings.pre_roll_seconds),
            tail=min(samples(settings.tail_seconds), samples(settings.hangover_seconds)),
            hangover=samples(settings.hangover_seconds),
            longest=samples(settings.max_utterance_seconds),
            always=settings.vad == "none",
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """Speech began at ``start``; its audio is wanted from ``audio_start`` on (the pre-roll). Decided at ``sample``."""

    start: int
    audio_start: int
    sample: int


@dataclass(frozen=True, slots=True)
class Paused:
    """Speech stopped at ``speech_end`` for as long as the tail; its audio is wanted up to ``audio_end``."""

    speech_end: int
    audio_end: int
    sample: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The utterance is over. ``maximum``: it was cut, and another opened where it ends."""

    speech_end: int
    audio_end: int
    sample: int
    reason: Literal["silence", "maximum", "idle", "end"]


GateEvent = Opened | Paused | Closed


class Gate:
    """Opens on speech, closes after silence.

    Hysteresis: opening takes several frames above one threshold among the latest; staying open takes one above a lower
    one. The same frames give the same events.
    """

    def __init__(self, rules: GateRules) -> None:
        self._rules = rules
        self._recent = _latest_frames((), rules)
        self._clock = 0
        self._boundary = 0  # audio before this belongs to an earlier utterance
        self._start: int | None = None
        self._speech_end = 0
        self._paused = False

    @property
    def is_open(self) -> bool:
        return self._start is not None

    @property
    def in_speech(self) -> bool:
        """Open, and the latest frame was speech."""
        return self.is_open and self._speech_end == self._clock

    @property
    def needs_from(self) -> int:
        """The first sample an utterance that opens later could want, or the one that a cut has just opened wants."""
        if self.is_open:
            return self._boundary
        history = self._rules.pre_roll + (self._rules.recent_frames + 1) * FRAME
        return max(self._boundary, self._clock - history)

    def step(self, frame: Frame) -> list[GateEvent]:
        """Take the next frame; at most one event, or two where an utterance is cut."""
        self._clock = frame.end
        self._recent.append(frame)
        if self._start is None:
            return self._try_to_open()
        if self._is_speech(frame, self._rules.closing):
            self._speech_end = frame.end
            self._paused = False
        if frame.end - self._start >= self._rules.longest:
            return self._cut()
        silent = frame.end - self._speech_end
        if silent >= self._rules.hangover:
            return [self._close("silence")]
        if silent >= self._rules.tail and not self._paused:
            self._paused = True
            return [Paused(self._speech_end, self._speech_end + self._rules.tail, frame.end)]
        return []

    def stop(self, reason: Literal["idle", "end"], clock: int) -> list[GateEvent]:
        """The stream ended or went quiet at ``clock``: close what is open, and forget what was about to open."""
        self._clock = clock
        self._recent.clear()
        if self._start is None:
            self._boundary = clock
            return []
        if not self._paused:  # the rest may hold the end of a word, whatever the detector heard in it
            self._speech_end = clock
        return [self._close(reason)]

    def adopt(self, rules: GateRules, heard: Sequence[Frame] | None = None) -> None:
        """Go by ``rules`` from the next frame on. To be called while closed, or right after a cut.

        ``heard``: the frames since `needs_from`, where other detectors have heard them anew.
        """
        self._boundary = self.needs_from  # audio before this may be gone, whatever the new rules want
        self._rules = rules
        self._recent = _latest_frames(self._recent if heard is None else heard, rules)
        if self.is_open and heard is not None:
            spoken = [frame.end for frame in heard if self._is_speech(frame, rules.closing)]
            self._speech_end = max([self._boundary, *spoken])

    def _is_speech(self, frame: Frame, threshold: float) -> bool:
        return self._rules.always or (frame.level_db >= self._rules.floor_db and frame.speech >= threshold)

    def _try_to_open(self) -> list[GateEvent]:
        latest = list(self._recent)[-self._rules.recent_frames :]
        loud = [frame for frame in latest if self._is_speech(frame, self._rules.opening)]
        needed = 1 if self._rules.always else self._rules.voiced_frames
        if len(loud) < needed or loud[-1] is not latest[-1]:
            return []
        first = next(frame for frame in latest if self._is_speech(frame, self._rules.closing))
        start = max(self._boundary, first.end - FRAME)
        self._start, self._speech_end, self._paused = start, self._clock, False
        return [Opened(start, max(self._boundary, start - self._rules.pre_roll), self._clock)]

    def _close(self, reason: Literal["silence", "idle", "end"]) -> Closed:
        end = min(self._clock, self._speech_end + self._rules.tail)
        self._start, self._boundary = None, end
        self._recent.clear()
        return Closed(self._speech_end, end, self._clock, reason)

    def _cut(self) -> list[GateEvent]:
        """End the utterance in its quietest late frame; the next one begins there."""
        quietest = min(list(self._recent)[-_CUT_LOOKBACK:], key=lambda frame: frame.level_db)
        at = quietest.end - FRAME // 2
        closed = Closed(min(at, self._speech_end), at, self._clock, "maximum")
        self._start = self._boundary = at
        self._speech_end = max(self._speech_end, at)
        self._paused = False
        return [closed, Opened(at, at, self._clock)]


def _latest_frames(frames: Iterable[Frame], rules: GateRules) -> deque[Frame]:
    """``frames`` in as much memory as ``rules`` and the search for a place to cut take."""
    return deque(frames, maxlen=max(rules.recent_frames, _CUT_LOOKBACK))
