"""``capibara transcribe FILE…``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import FAILED, INTERRUPTED, WRONG_USAGE, Failure
from .interrupt import Interruption
from .invocation import Invocation, command
from .output import name_on_line, note, plain, write_line
from .progress import AudioBar

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    import numpy as np

    from ...config.schema import VoiceSettings
    from ...voice.metrics import VoiceMetrics
    from ...voice.protocols import AudioSource, Transcriber
    from ...voice.values import AudioFormat, Final, VoiceEvent, Word

_DERIVED = ("seconds_skipped", "share_skipped", "decoded_per_second", "real_time_factor", "churn")


@command
def transcribe(
    invocation: Invocation,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Audio files; - reads standard input.")],
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Language spoken, such as es.")] = None,
    srt: Annotated[bool, typer.Option("--srt", help="Print subtitles (SubRip).")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Print subtitles (WebVTT).")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show words as they are understood.")] = False,
    rate: Annotated[int, typer.Option(metavar="HZ", help="Sample rate of raw standard input.")] = 16_000,
    channels: Annotated[int, typer.Option(metavar="N", help="Channels of raw standard input.")] = 1,
) -> None:
    """Turn speech into text. A file that cannot be read is named, and the rest goes on.

    Standard input may be an audio file or raw samples (16-bit, little-endian).
    """
    chosen = [f"--{name}" for name, given in (("json", invocation.as_json), ("srt", srt), ("vtt", vtt)) if given]
    chosen += ["--follow"] if follow else []
    if len(chosen) > 1:
        raise Failure(f"{' and '.join(chosen)}: choose one of them", exit_code=WRONG_USAGE, kind="UsageError")
    if (srt or vtt) and len(files) > 1:
        raise Failure(f"{chosen[0]} takes one file, not {len(files)}", exit_code=WRONG_USAGE, kind="UsageError")
    from ...voice.models import open_transcriber
    from ...voice.values import AudioFormat

    loaded, _ = invocation.settings()
    settings = loaded.settings.voice
    if language is not None:
        settings = settings.model_copy(update={"language": language})
    raw = AudioFormat(rate, channels)
    transcriber = open_transcriber(settings)
    transcriber.warm_up()
    _require_language(transcriber, language)
    with Interruption() as interruption, AudioBar(shown=not follow) as bar:
        work = _Work(transcriber, settings, raw, follow, interruption.cancel, bar)
        documents = interruption.run(lambda: work.do(files, _printer(srt, vtt, follow, len(files), invocation.as_json)))
    if invocation.as_json:
        invocation.emit(documents[0] if len(files) == 1 and documents else {"files": documents})
    if interruption.cancel.is_set():
        note("capibara: stopped; what was said until then is shown")
        raise typer.Exit(INTERRUPTED)
    if any("error" in document for document in documents):
        raise typer.Exit(FAILED)


def _require_language(transcriber: Transcriber, language: str | None) -> None:
    if language is not None and language not in transcriber.languages:
        known = ", ".join(transcriber.languages[:12]) + (", …" if len(transcriber.languages) > 12 else "")
        message = f"--language {language}: the speech model {transcriber.name} knows {known}"
        raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")


class _Work:
    """Transcribes file after file with one model."""

    def __init__(
        self,
        transcriber: Transcriber,
        settings: VoiceSettings,
        raw: AudioFormat,
        partials: bool,
        cancel: threading.Event,
        bar: AudioBar,
    ) -> None:
        self._transcriber, self._settings, self._raw = transcriber, settings, raw
        self._partials = partials
        self._cancel, self._bar = cancel, bar

    def do(self, files: Sequence[Path], printer: _Printer) -> list[dict[str, Any]]:
        """One document per file: what was said and what it cost, or an ``error``."""
        documents = []
        for file in files:
            if self._cancel.is_set():
                break
            documents.append(self._transcribe(file, printer))
        return documents

    def _transcribe(self, file: Path, printer: _Printer) -> dict[str, Any]:
        from ...voice.errors import AudioError
        from ...voice.streaming import StreamingTranscriber, transcribe_source
        from ...voice.values import Final

        finals: list[Final] = []
        metrics: VoiceMetrics | None = None
        error = None
        try:
            source = self._open(file)
            stream = StreamingTranscriber(
                self._transcriber, self._settings, audio_format=source.audio_format, partials=self._partials
            )
            try:
                printer.begin(name_on_line(str(file)))
                watched = _Watched(source, self._cancel, lambda done: self._bar.show(file.name, done, _length(source)))
                for event in transcribe_source(stream, watched):
                    if isinstance(event, Final) and event.words:
                        finals.append(event)
                    printer.show(event)
            finally:
                metrics = stream.metrics
        except AudioError as broken:
            error = name_on_line(str(broken))
            note(f"capibara: {error}")
        printer.end(finals)
        return _document(file, finals, metrics, error)

    def _open(self, file: Path) -> AudioSource:
        if str(file) == "-":
            from ...voice.standard_input import open_pipe

            return open_pipe(sys.stdin.buffer, self._raw)  # type: ignore[arg-type]
        from ...voice.audio_files import AudioFile

        return AudioFile(file)


def _length(source: AudioSource) -> float | None:
    return getattr(source, "seconds", None)


class _Watched:
    """A source that tells how far it was read, and ends when ``cancel`` is set."""

    def __init__(self, source: AudioSource, cancel: threading.Event, progress: Callable[[float], None]) -> None:
        self.audio_format = source.audio_format
        self.close = source.close
        self._source, self._cancel, self._progress = source, cancel, progress

    def blocks(self) -> Iterator[bytes | np.ndarray]:
        from ...voice.pulling import frames_in, parts

        done = 0.0
        for block in self._source.blocks():
            for part in parts(block, self.audio_format):
                if self._cancel.is_set():
                    return
                yield part
                done += frames_in(part, self.audio_format) / self.audio_format.sample_rate
                self._progress(done)


class _Printer:
    """Shows nothing: the JSON document is all."""

    def begin(self, name: str) -> None:
        """A file begins."""

    def show(self, event: VoiceEvent) -> None:
        """Something was understood."""

    def end(self, finals: Sequence[Final]) -> None:
        """A file has ended."""


class _Lines(_Printer):
    """A line for every utterance; a heading for every file where there are several."""

    def __init__(self, headings: bool) -> None:
        from .live import LiveLine

        self._headings = headings
        self._first = True
        self._live = LiveLine()

    def begin(self, name: str) -> None:
        if self._headings:
            write_line(f"{'' if self._first else chr(10)}{name}:")
            self._first = False

    def show(self, event: VoiceEvent) -> None:
        from ...voice.values import Final

        if isinstance(event, Final) and event.words:
            write_line(event.text)
            sys.stdout.flush()


class _Following(_Lines):
    """Words as they are understood: on a terminal in place, in a pipe on lines of their own, marked with ``…``."""

    def show(self, event: VoiceEvent) -> None:
        from ...voice.values import Final, Partial

        if isinstance(event, Partial):
            self._live.show(event.text)
        elif isinstance(event, Final):
            self._live.clear()
            super().show(event)


class _Subtitles(_Printer):
    def __init__(self, render: Callable[[Any], str]) -> None:
        self._render = render

    def end(self, finals: Sequence[Final]) -> None:
        from ...voice.subtitles import cues

        sys.stdout.write(self._render(cues(final.words for final in finals)))
        sys.stdout.flush()


def _printer(srt: bool, vtt: bool, follow: bool, files: int, as_json: bool) -> _Printer:
    if as_json:
        return _Printer()
    if srt or vtt:
        from ...voice import subtitles

        return _Subtitles(subtitles.srt if srt else subtitles.vtt)
    return (_Following if follow else _Lines)(files > 1)


def _document(file: Path, finals: Sequence[Final], metrics: VoiceMetrics | None, error: str | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "file": str(file),
        "text": " ".join(final.text for final in finals),
        "language": finals[-1].language if finals else None,
        "segments": [_segment(final) for final in finals],
        "metrics": None if metrics is None else metrics_document(metrics),
    }
    return document | ({"error": error} if error is not None else {})


def _segment(final: Final) -> dict[str, Any]:
    return {
        "start": _seconds(final.words[0].start),
        "end": _seconds(final.words[-1].end),
        "text": final.text,
        "language": final.language,
        "words": words_document(final.words),
    }


def words_document(words: Iterable[Word]) -> list[dict[str, Any]]:
    """Words with their times in seconds."""
    return [
        {
            "word": word.text,
            "start": _seconds(word.start),
            "end": _seconds(word.end),
            "probability": round(word.probability, 4),
        }
        for word in words
    ]


def metrics_document(metrics: VoiceMetrics) -> dict[str, Any]:
    """What listening cost, with the shares that follow from it."""
    return plain(dataclasses.asdict(metrics)) | {name: getattr(metrics, name) for name in _DERIVED}


def _seconds(sample: int) -> float:
    from ...voice.values import seconds

    return round(seconds(sample), 3)
