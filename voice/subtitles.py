"""Words with times as subtitles: SubRip (SRT) and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .values import Word, seconds, text_of

MAX_LINE = 42
"""Characters that fit a line, and twice as many a subtitle, as broadcasters have it."""
_LONGEST = 7.0
_PAUSE = 1.0
_ENDS = (".", "!", "?", "…", "。", "？", "！")


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle; ``start`` and ``end`` are samples of the stream."""

    start: int
    end: int
    text: str


def cues(utterances: Iterable[Sequence[Word]]) -> list[Cue]:
    """Subtitles of at most two lines and seven seconds; none goes on behind a pause, a sentence or an utterance."""
    found: list[Cue] = []
    for words in utterances:
        taken: list[Word] = []
        for word in words:
            if taken and _is_full(taken, word):
                found.append(_cue(taken))
                taken = []
            taken.append(word)
        if taken:
            found.append(_cue(taken))
    return found


def srt(found: Sequence[Cue]) -> str:
    """The subtitles as SubRip has them."""
    blocks = [
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(found, start=1)
    ]
    return "\n".join(blocks)


def vtt(found: Sequence[Cue]) -> str:
    """The subtitles as WebVTT has them."""
    texts = [cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for cue in found]
    blocks = [
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{text}\n" for cue, text in zip(found, texts, strict=True)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _is_full(taken: Sequence[Word], word: Word) -> bool:
    length = len(text_of(tuple(taken))) + 1 + len(word.text)
    return (
        length > 2 * MAX_LINE
        or seconds(word.end - taken[0].start) > _LONGEST
        or seconds(word.start - taken[-1].end) >= _PAUSE
        or (taken[-1].text.endswith(_ENDS) and length > MAX_LINE)
    )


def _cue(words: Sequence[Word]) -> Cue:
    return Cue(words[0].start, max(word.end for word in words), _lines(text_of(tuple(words))))


def _lines(text: str) -> str:
    """``text`` on one line, or on two about equally long."""
    if len(text) <= MAX_LINE or " " not in text:
        return text
    breaks = [position for position, character in enumerate(text) if character == " "]
    middle = min(breaks, key=lambda position: abs(position - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _time(sample: int, mark: str) -> str:
    milliseconds = round(seconds(sample) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
