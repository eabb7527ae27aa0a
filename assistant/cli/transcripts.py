"""Shows transcripts: lines of text, words as they are understood, subtitles, or JSON documents."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import plain, write_line

if TYPE_CHECKING:
    from ...voice.metrics import VoiceMetrics
    from ...voice.values import Final, VoiceEvent, Word

_DERIVED = ("seconds_skipped", "share_skipped", "decoded_per_second", "real_time_factor", "churn")


class Printer:
    """Shows nothing: the JSON document is all."""

    def begin(self, name: str) -> None:
        """A file begins."""

    def show(self, event: VoiceEvent) -> None:
        """Something was understood."""

    def end(self, finals: Sequence[Final]) -> None:
        """A file has ended."""


class _Lines(Printer):
    """A line for every utterance; a heading for every file where there are several."""

    def __init__(self, headings: bool) -> None:
        self._headings = headings
        self._heading = ""
        """Of the file that has begun, until its first words are shown."""
        self._first = True

    def begin(self, name: str) -> None:
        self._heading = f"{name}:" if self._headings else ""

    def show(self, event: VoiceEvent) -> None:
        from ...voice.values import Final

        if isinstance(event, Final) and event.words:
            self._show_heading()
            write_line(event.text)
            sys.stdout.flush()

    def _show_heading(self) -> None:
        if self._heading:
            write_line(self._heading if self._first else f"\n{self._heading}")
            self._first, self._heading = False, ""


class _Following(_Lines):
    """Words as they are understood: on a terminal in place, in a pipe on lines of their own, marked with ``…``."""

    def __init__(self, headings: bool) -> None:
        from .live import LiveLine

        super().__init__(headings)
        self._live = LiveLine()

    def show(self, event: VoiceEvent) -> None:
        from ...voice.values import Final, Partial

        if isinstance(event, Partial):
            self._show_heading()
            self._live.show(event.text)
        elif isinstance(event, Final):
            self._live.clear()
            super().show(event)


class _Subtitles(Printer):
    def __init__(self, render: Callable[[Any], str]) -> None:
        self._render = render

    def end(self, finals: Sequence[Final]) -> None:
        from ...voice.subtitles import cues

        sys.stdout.write(self._render(cues(final.words for final in finals)))
        sys.stdout.flush()


def open_printer(srt: bool, vtt: bool, follow: bool, files: int, as_json: bool) -> Printer:
    if as_json:
        return Printer()
    if srt or vtt:
        from ...voice import subtitles

        return _Subtitles(subtitles.srt if srt else subtitles.vtt)
    return (_Following if follow else _Lines)(files > 1)


def file_document(
    file: Path, finals: Sequence[Final], metrics: VoiceMetrics | None, error: str | None
) -> dict[str, Any]:
    """What was said in ``file``, what it cost, and the ``error`` that ended it; times in seconds."""
    document: dict[str, Any] = {
        "file": str(file),
        "text": " ".join(final.text for final in finals),
        "language": finals[-1].language if finals else None,
        "segments": [_segment(final) for final in finals],
        "metrics": None if metrics is None else metrics_document(metrics),
    }
    return rounded(document | ({"error": error} if error is not None else {}))


def _segment(final: Final) -> dict[str, Any]:
    from ...voice.values import seconds

    return {
        "start": seconds(final.words[0].start),
        "end": seconds(final.words[-1].end),
        "text": final.text,
        "language": final.language,
        "words": words_document(final.words),
    }


def words_document(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Words with their times in seconds."""
    from ...voice.values import seconds

    return [
        {
            "word": word.text,
            "start": seconds(word.start),
            "end": seconds(word.end),
            "probability": word.probability,
        }
        for word in words
    ]


def rounded(document: Any) -> Any:
    """``document`` with its fractions to three decimals."""
    if isinstance(document, float):
        return round(document, 3)
    if isinstance(document, dict):
        return {name: rounded(value) for name, value in document.items()}
    return [rounded(value) for value in document] if isinstance(document, list) else document


def metrics_document(metrics: VoiceMetrics) -> dict[str, Any]:
    """What listening cost, with the shares that follow from it."""
    return plain(dataclasses.asdict(metrics)) | {name: getattr(metrics, name) for name in _DERIVED}
