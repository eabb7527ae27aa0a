"""Decides what speech during an answer does to it: pause it, end it, or let it go on after a false alarm.

Speech pauses the answer at once. Words confirm that the speaker means it, and end it; where none come in time, or only
what the assistant itself was saying (the microphone hears the loudspeaker) or a "yes, yes", it goes on. The policy is
that of LiveKit's agents (pause first, resume after a false interruption) with words as the proof; time is the sample
at which things happened.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal

from ..config.schema import VoiceSettings
from .values import Final, Partial, SpeechStarted, samples

Decision = Literal["pause", "resume", "stop"]

_WORD = re.compile(r"[^\W_]+")
_BACKCHANNELS = frozenset(
    _WORD.findall(
        "ah aha ahá ajá aw eh er hm hmm huh mhm mm mmm oh ok okay right sure uh uhuh um vale wow yeah yep yes "
        "ya sí si claro bien bueno genau ja ach oui ouais sì certo sim"
    )
)
"""Words that listeners say without wanting to speak."""


class BargeIn:
    """The policy for one answer after another. Feed it the events of the stream while an answer is under way."""

    def __init__(self, settings: VoiceSettings) -> None:
        self._enabled = settings.barge_in
        self._least_words = settings.barge_in_words
        self._wait = samples(settings.barge_in_wait_seconds)
        self._long = samples(settings.barge_in_speech_seconds)
        self._starts: dict[int, int] = {}
        """First sample of the utterances that go on."""
        self._deadline: int | None = None
        """Where a paused answer goes on; None while it is not paused."""

    def began(self) -> None:
        """An answer begins."""
        self._starts.clear()
        self._deadline = None

    def heard_speech(self, event: SpeechStarted) -> Decision | None:
        """Speech began during the answer."""
        if not self._enabled:
            return None
        self._starts[event.utterance] = event.start
        paused = self._deadline is not None
        self._deadline = event.sample + self._wait
        return None if paused else "pause"

    def heard_words(self, event: Partial | Final, spoken: str) -> Decision | None:
        """The words of an utterance as they are known now; ``spoken`` is what the assistant said meanwhile."""
        if event.utterance not in self._starts:
            return None
        own = len(own_words([word.text for word in event.words], spoken))
        start = self._starts[event.utterance]
        if isinstance(event, Final):
            del self._starts[event.utterance]
            least = 1
        else:
            least = 1 if event.sample - start >= self._long else self._least_words
        if own >= least:
            self.began()
            return "stop"
        return self._resumed() if not self._starts else None

    def at(self, sample: int) -> Decision | None:
        """The stream has come to ``sample``; to be called for every block of audio."""
        return self._resumed() if self._deadline is not None and sample >= self._deadline else None

    def _resumed(self) -> Decision | None:
        if self._deadline is None:
            return None
        self._deadline = None
        return "resume"


def own_words(words: Sequence[str], spoken: str) -> list[str]:
    """The words that are the speaker's own: neither an echo of ``spoken`` nor said only to show attention.

    An echo is recognised with mistakes, so its words need only resemble those spoken, and words that stand between
    them are taken for it too. Words behind its end are the speaker's, and so are two or more before its beginning.
    """
    said = [word for text in words for word in _WORD.findall(text.casefold())]
    echo = _WORD.findall(spoken.casefold())
    known = dict.fromkeys(echo)
    alike = [next(iter(difflib.get_close_matches(word, known, 1, 0.7)), word) for word in said]
    blocks = difflib.SequenceMatcher(None, alike, echo, autojunk=False).get_matching_blocks()[:-1]
    run = min(2, len(said))  # a single word in common, such as "a", is none of an echo
    if blocks and sum(block.size for block in blocks if block.size >= run) * 2 >= len(said):
        first, last = blocks[0].a, blocks[-1].a + blocks[-1].size
        said = [*(said[:first] if first > 1 else ()), *said[last:]]
    return [word for word in said if word not in _BACKCHANNELS]
