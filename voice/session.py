"""Listens to one stream: audio in, events out, and jobs for whoever runs the speech model. Does no waiting of its own.

Everything is decided at samples of the stream and in their order, so that the events do not depend on how the audio
was cut into pieces, nor on how long the model took, as long as every job is done before the next is queued. Where it
is not, a newer partial takes the place of an older one that has not been begun, and is counted.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import numpy as np

from ..config.schema import VoiceSettings
from .detection import FrameClassifier
from .errors import StreamClosed
from .gate import Closed, Gate, GateRules, Opened, Paused
from .jobs import DecodeJob, PendingDecode
from .language import LanguageLock
from .metrics import MetricsCollector
from .stream_input import StreamInput
from .turns import Turns
from .utterance import Utterance
from .values import (
    AudioFormat,
    DecodeOptions,
    Dropped,
    DropReason,
    EndOfTurn,
    Final,
    Partial,
    SpeechStarted,
    Transcript,
    VoiceEvent,
    Word,
    samples,
    seconds,
    text_of,
)


class ListeningSession:
    """The state of one stream. Not thread-safe: whoever drives it takes turns.

    `push` audio, `step` while it returns events, do the jobs that `next_job` gives and hand back what came of them.
    """

    def __init__(
        self,
        settings: VoiceSettings,
        audio_format: AudioFormat,
        *,
        hotwords: tuple[str, ...] = (),
        partials: bool = True,
        classifier: FrameClassifier | None = None,
    ) -> None:
        self.metrics = MetricsCollector()
        self._input = StreamInput(audio_format, classifier or FrameClassifier.of(settings), self.metrics)
        self._hotwords = hotwords or settings.hotwords
        self._partials = partials
        self._partial_every = samples(settings.partial_seconds)
        self._longest_window = samples(settings.window_seconds)
        self._gate = Gate(GateRules.of(settings))
        self._turns = Turns(settings)
        self._language = LanguageLock(settings.language)
        self._utterance: Utterance | None = None
        self._opened = 0
        self._said_until = 0
        self._queue: deque[PendingDecode] = deque()
        self._running: PendingDecode | None = None
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
        return self._running is None and bool(self._queue)

    @property
    def urgent(self) -> bool:
        """The next job ends an utterance, or may."""
        return bool(self._queue) and self._queue[0].kind != "partial"

    @property
    def settled(self) -> bool:
        """No job is left."""
        return self._running is None and not self._queue

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
            if self._partials and self._gate.in_speech and new >= self._partial_every:
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
        if not self.has_job:
            return None
        pending = self._running = self._queue.popleft()
        start = min(pending.utterance.window_start, pending.end)
        options = DecodeOptions(self._language.language, self._hotwords, final=pending.kind != "partial")
        return DecodeJob(self._input.audio(start, pending.end), options, start, pending.end, pending.due, pending)

    def complete(self, job: DecodeJob, transcript: Transcript, *, took: float, at: float) -> list[VoiceEvent]:
        """What comes of ``transcript``, which took ``took`` seconds and is told at ``at`` seconds of stream time."""
        self._running = None
        utterance, closed = job.pending.utterance, job.pending.closed
        self.metrics.decoded(len(job.audio), took, final=job.options.final)
        self._language.hear(transcript, len(job.audio), whole=job.options.final)
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
        utterance.shorten(job.end, self._longest_window)
        return self._settle(events, at)

    def fail(self, job: DecodeJob, *, at: float) -> list[VoiceEvent]:
        """The model failed on ``job``: a final keeps what was known, a partial is given up."""
        self._running = None
        self.metrics.failed()
        utterance, closed = job.pending.utterance, job.pending.closed
        if closed is None:
            return self._settle([self._drop(job.end, "failed")], at)
        known = utterance.hypothesis.committed + utterance.hypothesis.tentative
        start = utterance.opened.audio_start
        return self._settle(self._finalise(utterance, closed, known, start, at, failed=True), at)

    def _heed(self, change: Opened | Paused | Closed) -> list[VoiceEvent]:
        if isinstance(change, Opened):
            self._opened += 1
            self.metrics.opened()
            self._utterance = Utterance.open(self._opened, change)
            self._turns.started(self._opened, change.start, change.sample)
            return [SpeechStarted(self._opened, self._turns.current, change.sample, change.start)]
        assert self._utterance is not None
        if isinstance(change, Paused):
            if not self._partials:
                return []
            return self._enqueue(PendingDecode(self._utterance, change.audio_end, "pause", change.sample))
        return self._close(self._utterance, change)

    def _close(self, utterance: Utterance, closed: Closed) -> list[VoiceEvent]:
        """End ``utterance``; what was decoded in the pause before is its final, if the pause had not ended since."""
        self._utterance = None
        self._turns.stopped(utterance.number, closed.speech_end)
        self.metrics.spoken(closed.audio_end - utterance.opened.audio_start)
        if utterance.paused is not None and utterance.paused[1] == closed.audio_end:
            start, _, words = utterance.paused
            return self._finalise(utterance, closed, words, start, max(utterance.told_at, seconds(closed.sample)))
        for pending in (*self._queue, *([self._running] if self._running else [])):
            same = pending.utterance is utterance and pending.end == closed.audio_end
            if same and pending.kind == "pause":
                pending.closed = closed
                return []
        return self._enqueue(PendingDecode(utterance, closed.audio_end, "final", closed.sample, closed))

    def _enqueue(self, pending: PendingDecode) -> list[VoiceEvent]:
        pending.utterance.scheduled_until = pending.end
        events: list[VoiceEvent] = []
        last = self._queue[-1] if self._queue else None
        if last is not None and last.closed is None and last.utterance is pending.utterance:
            self._queue.pop()
            events.append(self._drop(last.end, "overload"))
        self._queue.append(pending)
        return events

    def _drop(self, sample: int, reason: DropReason) -> Dropped:
        self.metrics.dropped_partial(reason)
        return Dropped(sample, "partial", reason)

    def _show(self, utterance: Utterance, end: int, due: int, at: float) -> list[VoiceEvent]:
        """A partial, if it says anything new."""
        hypothesis = utterance.hypothesis
        now = hypothesis.committed + hypothesis.tentative
        if now == utterance.shown and not (hypothesis.committed and utterance.committed < len(hypothesis.committed)):
            return []
        self._note_shown(utterance, now, due, at)
        utterance.committed = len(hypothesis.committed)
        return [
            Partial(
                utterance.number,
                self._turns.current,
                end,
                hypothesis.committed,
                hypothesis.tentative,
                utterance.language,
            )
        ]

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
        span = (closed.sample, utterance.opened.start, closed.speech_end)
        turn = self._turns.current
        return [Final(utterance.number, turn, *span, words, utterance.language, closed.reason, failed)]

    def _note_shown(self, utterance: Utterance, words: tuple[Word, ...], sample: int, at: float) -> None:
        self.metrics.shown(utterance.shown, words)
        if words and not utterance.shown:
            self.metrics.first_words(utterance.opened.start, sample, at)
        utterance.shown = words

    def _settle(self, events: list[VoiceEvent], at: float = 0.0) -> list[VoiceEvent]:
        """What every step ends with: turns that are over, and audio that nobody will ask for any more."""
        events += self._told_turns(self._turns.ended(self._input.at), at)
        open_ = self._utterance.window_start if self._utterance is not None else self._gate.needs_from
        self._input.forget_before(min([open_, *(pending.utterance.window_start for pending in self._queue)]))
        return events

    def _told_turns(self, turns: list[EndOfTurn], at: float) -> list[VoiceEvent]:
        for turn in turns:
            self.metrics.turn_ended(turn.speech_end, turn.sample, max(at, self._turns.told_at))
        return list(turns)
