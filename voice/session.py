"""Listens to one stream: audio in, events out, and jobs for whoever runs the speech model. Does no waiting of its own.

Everything is decided at samples of the stream and in their order, so that the events do not depend on how the audio
was cut into pieces, nor on how long the model took, as long as every job is done before the next is queued. Where it
is not, a newer partial takes the place of an older one that has not been begun, and is counted.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..config.schema import VoiceSettings
from .detection import FrameClassifier
from .errors import StreamClosed
from .gate import FRAME, Closed, Gate, GateRules, Opened, Paused
from .jobs import DecodeJob, DecodeQueue, PendingDecode
from .metrics import MetricsCollector
from .protocols import Transcriber
from .stream_input import StreamInput
from .terms import Succession, Terms
from .turns import Turns
from .utterance import Utterance
from .values import (
    AudioFormat,
    Dropped,
    DropReason,
    EndOfTurn,
    SpeechStarted,
    Transcript,
    VoiceEvent,
    Word,
    seconds,
    text_of,
)


class ListeningSession:
    """The state of one stream. Not thread-safe: whoever drives it takes turns.

    `push` audio, `step` while it returns events, do the jobs that `next_job` gives and hand back what came of them.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        settings: VoiceSettings,
        audio_format: AudioFormat,
        *,
        hotwords: tuple[str, ...] = (),
        partials: bool = True,
        classifier: FrameClassifier | None = None,
    ) -> None:
        self.metrics = MetricsCollector()
        self._own_classifier = classifier
        self._terms = Succession(Terms.of(settings, transcriber, hotwords, classifier))
        self._input = StreamInput(audio_format, self._terms.now.classifier, self.metrics)
        self._partials = partials
        self._gate = Gate(GateRules.of(settings))
        self._turns = Turns(settings)
        self._utterance: Utterance | None = None
        self._opened = 0
        self._said_until = 0
        self._queue = DecodeQueue()
        self._finished = False

    @property
    def received(self) -> int:
        """Samples at 16 kHz so far."""
        return self._input.received

    @property
    def held(self) -> int:
        """Samples kept in memory."""
        return self._input.held

    @property
    def listening(self) -> bool:
        """True while an utterance is open."""
        return self._utterance is not None

    @property
    def has_job(self) -> bool:
        return self._queue.ready

    @property
    def urgent(self) -> bool:
        """The next job ends an utterance, or may."""
        return self._queue.urgent

    @property
    def settled(self) -> bool:
        """No job is left."""
        return self._queue.empty

    @property
    def settings(self) -> VoiceSettings:
        """Those of the utterance that is open, or else of the next one."""
        return self._terms.now.settings

    def adopt(
        self, settings: VoiceSettings, *, hotwords: tuple[str, ...] = (), transcriber: Transcriber | None = None
    ) -> None:
        """Go over to ``settings`` with the next utterance; one that is open ends as it began, with its own model.

        ``hotwords`` stand in for those of ``settings``, and detectors given when the session was made for theirs;
        ``transcriber`` None: that of the utterance before. Speech that long goes on becomes another utterance where
        it is cut.

        Raises:
            VoiceUnavailable: a detector that the settings ask for is not installed; nothing has changed.
        """
        model = transcriber if transcriber is not None else self._terms.latest.transcriber
        terms = Terms.of(settings, model, hotwords, self._own_classifier)
        self._terms.adopt(terms, self._input.received // FRAME * FRAME, self._input.at)
        self._take_up(self._input.at)

    def push(self, data: bytes | np.ndarray) -> None:
        """Take audio as the stream's format lays it out; `step` makes something of it.

        Raises:
            StreamClosed: after `finish`.
        """
        if self._finished:
            raise StreamClosed("audio came after the end of the stream; open a new stream")
        self._input.push(data)

    def step(self) -> list[VoiceEvent] | None:
        """Make something of the next frame; None: there is no whole frame."""
        frame = self._input.next_frame(self._gate.is_open)
        if frame is None:
            return None
        events: list[VoiceEvent] = []
        for change in self._gate.step(frame):
            events += self._heed(change)
        if self._utterance is not None:
            self._utterance.frames.append(frame)
            new = frame.end - self._utterance.scheduled_until
            if self._partials and self._gate.in_speech and new >= self._utterance.terms.partial_every:
                events += self._enqueue(PendingDecode(self._utterance, frame.end, "partial", frame.end))
        return self._settle(events)

    def finish(self) -> None:
        """No more audio will come. `step` until None, then `stop`."""
        if not self._finished:
            self._finished = True
            self._input.finish()

    def stop(self, reason: Literal["idle", "end"]) -> list[VoiceEvent]:
        """Close what is open where the audio ends: it is over, or none has come for too long."""
        events: list[VoiceEvent] = []
        for change in self._gate.stop(reason, self._input.received):
            events += self._heed(change)
        return self._settle(events)

    def lost(self, count: int) -> list[VoiceEvent]:
        """Audio that was lost before it came here: it is counted, and stream time goes on without it."""
        self.metrics.dropped_audio(count)
        return [Dropped(self._input.received, "audio", "overflow", count)]

    def abandon(self) -> None:
        """Nobody wants the jobs that are left."""
        self._queue.clear()

    def end(self, at: float) -> list[VoiceEvent]:
        """The last events, once the stream was stopped and every job done."""
        return self._told_turns(self._turns.finish(self._input.received), at)

    def next_job(self) -> DecodeJob | None:
        """The next job, if none is under way; hand its outcome to `complete` or `fail`."""
        if (pending := self._queue.take()) is None:
            return None
        start = min(pending.utterance.window_start, pending.end)
        options = pending.utterance.terms.options(final=pending.kind != "partial")
        return DecodeJob(self._input.audio(start, pending.end), options, start, pending.end, pending.due, pending)

    def complete(self, job: DecodeJob, transcript: Transcript, *, took: float, at: float) -> list[VoiceEvent]:
        """What comes of ``transcript``, which took ``took`` seconds and is told at ``at`` seconds of stream time."""
        self._queue.done()
        utterance, closed = job.pending.utterance, job.pending.closed
        self.metrics.decoded(len(job.audio), took, final=job.options.final)
        utterance.terms.language.hear(transcript, len(job.audio), whole=job.options.final)
        utterance.language = transcript.language
        utterance.hypothesis.said_until = max(utterance.hypothesis.said_until, self._said_until)
        words = tuple(word.shifted(job.start) for word in transcript.words)
        if closed is not None:
            return self._settle(self._finalise(utterance, closed, words, job.start, at), at)
        before = utterance.hypothesis.committed
        utterance.hypothesis.update(words, job.start, job.end)
        self.metrics.told(utterance.hypothesis.committed[len(before) :], job.due, at)
        if job.pending.kind == "pause":
            utterance.paused = (job.start, job.end, words)
            utterance.told_at = at
        self._turns.heard(utterance.number, text_of(utterance.hypothesis.committed))
        events = self._show(utterance, job.end, job.due, at)
        utterance.shorten(job.end)
        return self._settle(events, at)

    def fail(self, job: DecodeJob, *, at: float) -> list[VoiceEvent]:
        """The model failed on ``job``: a final keeps what was known, a partial is given up."""
        self._queue.done()
        self.metrics.failed()
        utterance, closed = job.pending.utterance, job.pending.closed
        if closed is None:
            return self._settle([self._drop(job.end, "failed")], at)
        start = utterance.opened.audio_start
        return self._settle(self._finalise(utterance, closed, utterance.words, start, at, failed=True), at)

    def _heed(self, change: Opened | Paused | Closed) -> list[VoiceEvent]:
        if isinstance(change, Opened):
            self._opened += 1
            self.metrics.opened()
            self._utterance = Utterance.open(self._opened, change, self._terms.now)
            self._turns.started(self._opened, change.start, change.sample)
            return [SpeechStarted(self._opened, self._turns.current, change.sample, change.start)]
        assert self._utterance is not None
        if isinstance(change, Paused):
            if not self._partials:
                return []
            return self._enqueue(PendingDecode(self._utterance, change.audio_end, "pause", change.sample))
        events = self._close(self._utterance, change)
        if change.reason == "maximum":  # with the next utterance, which begins there
            self._take_up(self._input.at - FRAME)
        return events

    def _close(self, utterance: Utterance, closed: Closed) -> list[VoiceEvent]:
        """End ``utterance``; what was decoded in the pause before is its final, if the pause had not ended since."""
        self._utterance = None
        self._turns.stopped(utterance.number, closed.speech_end)
        self.metrics.spoken(closed.audio_end - utterance.opened.audio_start)
        if utterance.paused is not None and utterance.paused[1] == closed.audio_end:
            start, _, words = utterance.paused
            return self._finalise(utterance, closed, words, start, max(utterance.told_at, seconds(closed.sample)))
        if (pending := self._queue.in_pause(utterance, closed.audio_end)) is not None:
            pending.closed = closed
            return []
        return self._enqueue(PendingDecode(utterance, closed.audio_end, "final", closed.sample, closed))

    def _enqueue(self, pending: PendingDecode) -> list[VoiceEvent]:
        replaced = self._queue.put(pending)
        return [] if replaced is None else [self._drop(replaced.end, "overload")]

    def _drop(self, sample: int, reason: DropReason) -> Dropped:
        self.metrics.dropped_partial(reason)
        return Dropped(sample, "partial", reason)

    def _show(self, utterance: Utterance, end: int, due: int, at: float) -> list[VoiceEvent]:
        """A partial, if it says anything new."""
        if not utterance.has_news:
            return []
        self._note_shown(utterance, utterance.words, due, at)
        utterance.committed = len(utterance.hypothesis.committed)
        return [utterance.partial(self._turns.current, end)]

    def _finalise(
        self,
        utterance: Utterance,
        closed: Closed,
        words: tuple[Word, ...],
        audio_start: int,
        at: float,
        failed: bool = False,
    ) -> list[VoiceEvent]:
        told = len(utterance.hypothesis.committed)
        words = utterance.hypothesis.complete(words, audio_start)
        self._said_until = max(self._said_until, utterance.hypothesis.committed_until)
        self.metrics.told(words[told:], closed.sample, at)
        self._note_shown(utterance, words, closed.sample, at)
        self._turns.transcribed(utterance.number, text_of(words), utterance.language, at)
        return [utterance.final(self._turns.current, closed, words, failed)]

    def _note_shown(self, utterance: Utterance, words: tuple[Word, ...], sample: int, at: float) -> None:
        self.metrics.shown(utterance.shown, words)
        if words and not utterance.shown:
            self.metrics.first_words(utterance.opened.start, sample, at)
        utterance.shown = words

    def _settle(self, events: list[VoiceEvent], at: float = 0.0) -> list[VoiceEvent]:
        """What every step ends with: turns that are over, and audio that nobody will ask for any more."""
        events += self._told_turns(self._turns.ended(self._input.at), at)
        self._take_up(self._input.at)
        open_ = self._gate.needs_from if self._utterance is None else self._utterance.window_start
        self._input.forget_before(min([open_, *self._queue.needs_from()]))
        return events

    def _take_up(self, at: int) -> None:
        """Go over to the terms that were adopted by sample ``at``, if there are any, unless an utterance is open."""
        if self._utterance is not None or (before := self._terms.advance(at)) is None:
            return
        terms, heard = self._terms.now, None
        if terms.classifier is not before.classifier:
            heard = self._input.hear_anew(terms.classifier, self._gate.needs_from, self._gate.is_open)
        self._gate.adopt(GateRules.of(terms.settings), heard)
        self._turns.adopt(terms.settings)

    def _told_turns(self, turns: list[EndOfTurn], at: float) -> list[VoiceEvent]:
        for turn in turns:
            self.metrics.turn_ended(turn.speech_end, turn.sample, max(at, self._turns.told_at))
        return list(turns)
