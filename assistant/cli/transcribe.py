"""``capibara transcribe FILE…``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import FAILED, INTERRUPTED, WRONG_USAGE, Failure
from .hearing import audio_name, impossible_is_wrong_usage, note_silence, open_audio
from .interrupt import EndingAtOnce, Interruption
from .invocation import Invocation, command
from .output import name_on_line, note
from .progress import AudioBar
from .transcripts import Printer, file_document, open_printer

if TYPE_CHECKING:
    import threading

    import numpy as np

    from ...config.schema import VoiceSettings
    from ...voice.metrics import VoiceMetrics
    from ...voice.protocols import AudioSource, Transcriber
    from ...voice.values import AudioFormat, Final


@command
def transcribe(
    invocation: Invocation,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Audio files; - reads standard input.")],
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Language spoken, such as es.")] = None,
    srt: Annotated[bool, typer.Option("--srt", help="Print subtitles (SubRip).")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Print subtitles (WebVTT).")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show words as they are understood.")] = False,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", help="Sample rate of raw standard input; none: 16000.")
    ] = None,
    channels: Annotated[int | None, typer.Option(metavar="N", help="Channels of raw standard input; none: 1.")] = None,
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
    from ...voice.packages import require_packages

    loaded, _ = invocation.settings()
    settings = loaded.settings.voice
    require_packages()
    with impossible_is_wrong_usage():
        raw = _raw_format(rate, channels)
        transcriber = _loaded(invocation, settings, language)
    if language is not None:
        settings = settings.model_copy(update={"language": language})
    with Interruption() as interruption, AudioBar(shown=not follow) as bar:
        work = _Work(transcriber, settings, raw, follow, interruption.cancel, bar, quiet=invocation.as_json)
        printer = open_printer(srt, vtt, follow, len(files), invocation.as_json)
        documents = interruption.run(lambda: work.do(files, printer))
    if invocation.as_json:
        invocation.emit(documents[0] if len(files) == 1 and documents else {"files": documents})
    if interruption.cancel.is_set():
        note("capibara: stopped; what was said until then is shown")
        raise typer.Exit(INTERRUPTED)
    if any("error" in document for document in documents):
        raise typer.Exit(FAILED)


def _raw_format(rate: int | None, channels: int | None) -> AudioFormat | None:
    """How the user says that raw audio is laid out; None: nothing is said."""
    from ...voice.values import AudioFormat

    if rate is None and channels is None:
        return None
    usual = AudioFormat()
    return AudioFormat(usual.sample_rate if rate is None else rate, usual.channels if channels is None else channels)


def _loaded(invocation: Invocation, settings: VoiceSettings, language: str | None) -> Transcriber:
    """The speech model, which knows the ``language`` of the option, or that of the settings."""
    from ...voice.models import open_transcriber

    transcriber = open_transcriber(settings)
    with EndingAtOnce(invocation.stdout, as_json=invocation.as_json) as ending:
        ending.run(transcriber.warm_up)
    asked = language or settings.language
    if asked is not None and asked not in transcriber.languages:
        known = ", ".join(transcriber.languages[:12]) + (", …" if len(transcriber.languages) > 12 else "")
        source = f"--language {asked}" if language else f"voice.language = {asked}"
        message = f"{source}: the speech model {transcriber.name} knows {known}"
        raise Failure(message, exit_code=WRONG_USAGE, kind="UsageError")
    return transcriber


class _Work:
    """Transcribes file after file with one model. ``quiet``: the documents say what else would be noted."""

    def __init__(
        self,
        transcriber: Transcriber,
        settings: VoiceSettings,
        raw: AudioFormat | None,
        partials: bool,
        cancel: threading.Event,
        bar: AudioBar,
        *,
        quiet: bool,
    ) -> None:
        self._transcriber, self._settings, self._raw = transcriber, settings, raw
        self._partials = partials
        self._cancel, self._bar = cancel, bar
        self._quiet = quiet

    def do(self, files: Sequence[Path], printer: Printer) -> list[dict[str, Any]]:
        """One document per file: what was said and what it cost, or an ``error``."""
        documents = []
        for file in files:
            if self._cancel.is_set():
                break
            documents.append(self._transcribe(file, printer))
        return documents

    def _transcribe(self, file: Path, printer: Printer) -> dict[str, Any]:
        from ...voice.errors import AudioError
        from ...voice.streaming import StreamingTranscriber, transcribe_source
        from ...voice.values import Final

        finals: list[Final] = []
        metrics: VoiceMetrics | None = None
        error = None
        try:
            source = open_audio(file, self._raw, self._cancel)
            stream = StreamingTranscriber(
                self._transcriber, self._settings, audio_format=source.audio_format, partials=self._partials
            )
            try:
                printer.begin(audio_name(file))
                watched = _Watched(source, self._cancel, lambda done: self._bar.show(file.name, done, _length(source)))
                for event in transcribe_source(stream, watched):
                    if isinstance(event, Final) and event.words:
                        finals.append(event)
                    printer.show(event)
            finally:
                metrics = stream.metrics
        except AudioError as broken:
            if not self._cancel.is_set():  # else it is the end that Ctrl-C made
                error = name_on_line(str(broken))
                note(f"capibara: {error}")
        printer.end(finals)
        if not (finals or error or self._quiet or self._cancel.is_set()):
            note_silence(file)
        return file_document(file, finals, metrics, error)


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
