"""When a speaker is done: silence long enough for what was said and for who says it, and a complete transcript."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.schema import VoiceSettings
from .unfinished import sounds_unfinished
from .values import samples

_WEIGHT = 0.35
_MARGIN = 1.3


@dataclass(frozen=True, slots=True)
class _Delays:
    """The settings in samples: the least and the greatest delay, and how long a transcript is waited for."""

    least: int
    greatest: int
    wait: int
    factor: float
    adaptive: bool

    @classmethod
    def of(cls, settings: VoiceSettings) -> _Delays:
        least = samples(settings.endpoint_seconds)
        return cls(
            least,
            max(least, samples(settings.endpoint_max_seconds)),
            max(least, samples(settings.transcript_wait_seconds)),
            settings.unfinished_factor,
            settings.endpoint_adaptive,
        )

    def clamp(self, delay: float) -> int:
        return min(self.greatest, max(self.least, round(delay)))


@dataclass(slots=True)
class _Stretch:
    """One utterance as the policy sees it; ``text`` None: its transcript is not there yet."""

    utterance: int
    decided: int
    delays: _Delays
    speech_end: int | None = None
    base: int = 0
    text: str | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """A turn that ended at ``sample`` with the utterances named."""

    sample: int
    speech_end: int
    utterances: tuple[int, ...]


class Endpointer:
    """Two timers, and both must run out: one since speech stopped, and one for the transcript, which is cut short when
    the final transcript arrives.

    The first is longer after a sentence that sounds unfinished, and learns (exponential average) from how long a
    speaker pauses within a turn, between the least and the greatest delay of the settings. What is decided depends on
    samples and texts alone: a transcript that arrives late leads to the decision that it would have led to in time.
    """

    def __init__(self, settings: VoiceSettings) -> None:
        self._delays = _Delays.of(settings)
        self._learned = 0.0
        self._stretches: list[_Stretch] = []
        self._undecided = 0
        self._speech_end: int | None = None

    def adopt(self, settings: VoiceSettings) -> None:
        """Utterances that start from now on have the delays of ``settings``; what was learned is kept if it counts."""
        self._delays = _Delays.of(settings)
        if not self._delays.adaptive:
            self._learned = 0.0

    def started(self, utterance: int, start: int, decided: int) -> None:
        """The gate opened for ``utterance`` at sample ``decided``, on speech from ``start`` on."""
        if self._speech_end is not None:
            self._learn(start - self._speech_end)
        self._stretches.append(_Stretch(utterance, decided, self._delays))

    def stopped(self, utterance: int, speech_end: int) -> None:
        """The gate closed; speech ended at ``speech_end``."""
        stretch = self._stretch(utterance)
        stretch.speech_end = self._speech_end = speech_end
        stretch.base = stretch.delays.clamp(self._learned * _MARGIN)

    def transcribed(self, utterance: int, text: str, language: str) -> None:
        """The final transcript of an utterance that had stopped; ignored when its turn ended without it."""
        for stretch in self._stretches:
            if stretch.utterance == utterance:
                stretch.text, stretch.language = text, language

    def check(self, now: int) -> TurnEnd | None:
        """The turn that has ended by sample ``now``, if one has; call again until None."""
        while self._undecided < len(self._stretches):
            deadline = self._deadline(self._stretches[self._undecided], now)
            follows = self._stretches[self._undecided + 1 :]
            if deadline is None or (not follows and now < deadline):
                return None
            if not follows or follows[0].decided > deadline:
                return self._end(deadline)
            self._undecided += 1
        return None

    def finish(self, now: int) -> TurnEnd | None:
        """The stream is over, and so is the turn."""
        if not self._stretches:
            return None
        self._undecided = len(self._stretches) - 1
        return self._end(now)

    def _deadline(self, stretch: _Stretch, now: int) -> int | None:
        """Where the turn ends if nobody speaks after ``stretch``; None: not known yet."""
        if stretch.speech_end is None:
            return None
        delays = stretch.delays
        if stretch.text is not None:
            unfinished = sounds_unfinished(stretch.text, stretch.language)
            return stretch.speech_end + delays.clamp(stretch.base * (delays.factor if unfinished else 1))
        waited = stretch.speech_end + delays.wait
        return waited if now >= waited else None

    def _end(self, sample: int) -> TurnEnd:
        count = self._undecided + 1
        ended, self._stretches, self._undecided = self._stretches[:count], self._stretches[count:], 0
        speech_end = ended[-1].speech_end
        utterances = tuple(stretch.utterance for stretch in ended)
        return TurnEnd(sample, sample if speech_end is None else speech_end, utterances)

    def _stretch(self, utterance: int) -> _Stretch:
        return next(stretch for stretch in self._stretches if stretch.utterance == utterance)

    def _learn(self, pause: int) -> None:
        """Short pauses are pauses for thought, also those that ended a turn too early; long ones part turns."""
        if not self._delays.adaptive or pause <= 0:
            return
        if pause <= 2 * self._delays.least:
            self._learned += _WEIGHT * (pause - self._learned)
        elif pause > self._delays.greatest:
            self._learned *= 1 - _WEIGHT / 4
