"""Speech to text for one stream, by the caller's own thread: audio in, events out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np

from ..config.schema import VoiceSettings
from .detection import FrameClassifier
from .errors import AudioError, StreamClosed, TranscriptionFailed
from .metrics import VoiceMetrics
from .protocols import AudioSource, LossySource, Transcriber
from .session import ListeningSession
from .values import SAMPLE_RATE, AudioFormat, VoiceEvent, seconds


class StreamingTranscriber:
    """Feed it audio in pieces of any size and at any speed; each call returns what came of it, in order.

    The same audio gives the same events, however it is cut. Each decode is done before the next frame is looked at, so
    a call takes as long as the model does; see `SharedTranscription` for streams that must not wait.

    Args:
        transcriber: the speech model; one may serve several streams, in turn.
        settings: of the section ``[voice]``.
        audio_format: of the audio that will be fed.
        hotwords: names and terms to listen for, instead of those of the settings.
        partials: False decodes each utterance once, when it is over: the least work, for recordings.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        settings: VoiceSettings | None = None,
        *,
        audio_format: AudioFormat | None = None,
        hotwords: tuple[str, ...] = (),
        partials: bool = True,
        classifier: FrameClassifier | None = None,
    ) -> None:
        self._session = ListeningSession(
            transcriber,
            settings or VoiceSettings(),
            audio_format or AudioFormat(),
            hotwords=hotwords,
            partials=partials,
            classifier=classifier,
        )
        self._busy_until = 0.0
        self._finished = False

    def feed(self, data: bytes | np.ndarray) -> list[VoiceEvent]:
        """Raw bytes in the stream's format, or an array of floats or int16, [samples] or [samples, channels].

        Raises:
            StreamClosed: after `finish`.
            AudioFormatError: an array that holds no audio.
            VoiceError: the speech model cannot be loaded.
        """
        if self._finished:
            raise StreamClosed("audio came after the end of the stream; open a new stream")
        self._session.push(data)
        return self._advance()

    def adopt(
        self, settings: VoiceSettings, *, transcriber: Transcriber | None = None, hotwords: tuple[str, ...] = ()
    ) -> None:
        """As `ListeningSession.adopt`."""
        self._session.adopt(settings, hotwords=hotwords, transcriber=transcriber)

    def idle(self) -> list[VoiceEvent]:
        """Tell what was heard so far as final, because no audio comes at the moment; the stream may go on."""
        return self._advance() + self._close("idle")

    def lost(self, count: int) -> list[VoiceEvent]:
        """Count ``count`` samples of stream time that were lost before they could be fed."""
        return self._session.lost(count)

    def finish(self) -> list[VoiceEvent]:
        """The stream is over: the last events."""
        if self._finished:
            return []
        self._finished = True
        self._session.finish()
        return self._advance() + self._close("end")

    @property
    def listening(self) -> bool:
        """True while an utterance is open."""
        return self._session.listening

    @property
    def held(self) -> int:
        """Samples kept in memory, at 16 kHz."""
        return self._session.held

    @property
    def metrics(self) -> VoiceMetrics:
        """What it cost so far. Latencies aware of computation are those of a stream fed in real time."""
        return self._session.metrics.snapshot()

    def _advance(self) -> list[VoiceEvent]:
        events: list[VoiceEvent] = []
        while (more := self._session.step()) is not None:
            events += more
            events += self._work()
        return events

    def _close(self, reason: Literal["idle", "end"]) -> list[VoiceEvent]:
        events = self._session.stop(reason)
        events += self._work()
        return events + self._session.end(self._busy_until)

    def _work(self) -> list[VoiceEvent]:
        """Do the jobs that are due; stream time goes on as if the audio came in real time."""
        events: list[VoiceEvent] = []
        while (job := self._session.next_job()) is not None:
            begun = time.perf_counter()
            try:
                transcript = job.transcriber.transcribe(job.audio, job.options)
            except TranscriptionFailed:
                transcript = None
            took = time.perf_counter() - begun
            self._busy_until = max(seconds(job.due), self._busy_until) + took
            if transcript is None:
                events += self._session.fail(job, at=self._busy_until)
            else:
                events += self._session.complete(job, transcript, took=took, at=self._busy_until)
        return events


def transcribe_source(stream: StreamingTranscriber, source: AudioSource) -> Iterator[VoiceEvent]:
    """Feed all of ``source`` to ``stream``; when it breaks off, what was heard is told before the error is raised.

    Raises:
        AudioError: the source cannot be read to its end.
    """
    broken: AudioError | None = None
    try:
        lost = 0
        for block in source.blocks():
            if isinstance(source, LossySource) and source.lost_samples > lost:
                new, lost = source.lost_samples - lost, source.lost_samples
                yield from stream.lost(round(new * SAMPLE_RATE / source.audio_format.sample_rate))
            yield from stream.feed(block)
    except AudioError as error:
        broken = error
    finally:
        source.close()
    yield from stream.finish()
    if broken is not None:
        raise broken
