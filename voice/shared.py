"""Speech to text for many streams at once, under asyncio: one thread decodes, with one model or with several."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Literal

import numpy as np

from ..config.schema import VoiceSettings
from .decoding import DecodingThread, Seat
from .detection import FrameClassifier
from .errors import StreamClosed, VoiceError
from .metrics import VoiceMetrics
from .protocols import Transcriber
from .session import ListeningSession
from .values import AudioFormat, Partial, VoiceEvent, samples, seconds


class SharedTranscription:
    """Gives streams that share a thread, and ``transcriber`` unless they are opened with, or adopt, another.

    Close it when no stream is needed any more.
    """

    def __init__(self, transcriber: Transcriber | None = None, settings: VoiceSettings | None = None) -> None:
        self.transcriber = transcriber
        """The speech model of streams that are opened without one."""
        self._settings = settings or VoiceSettings()
        self._thread = DecodingThread()

    def open(
        self,
        audio_format: AudioFormat | None = None,
        *,
        live: bool = True,
        transcriber: Transcriber | None = None,
        settings: VoiceSettings | None = None,
        hotwords: tuple[str, ...] = (),
        partials: bool = True,
        classifier: FrameClassifier | None = None,
    ) -> TranscriptionStream:
        """A new stream, in the running event loop.

        ``live``: sound that is made while it is sent. Where the model cannot keep up, partials are left out and
        counted. Otherwise (a file) sending waits for the model, and nothing is left out. Finals never are.
        Without ``partials`` each utterance is decoded once, when it is over.

        Raises:
            VoiceError: there is no ``transcriber``, neither here nor of all streams.
            VoiceUnavailable: a detector that the settings ask for is not installed.
        """
        model = transcriber if transcriber is not None else self.transcriber
        if model is None:
            raise VoiceError("no speech model is given: name one for SharedTranscription or for this stream")
        session = ListeningSession(
            model,
            settings or self._settings,
            audio_format or AudioFormat(),
            hotwords=hotwords,
            partials=partials,
            classifier=classifier,
        )
        return TranscriptionStream(session, self._thread, live)

    def close(self) -> None:
        """Stops the thread; waits for the decode that is under way."""
        self._thread.close()


class TranscriptionStream:
    """One stream: `send` audio from one task, iterate over its events in another, until `finish` and the last event.

    A stream that falls silent without being finished (no `send` for ``idle_timeout_seconds`` more than the latest
    piece lasts) tells what it has heard.
    """

    def __init__(self, session: ListeningSession, thread: DecodingThread, live: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._session, self._thread, self._live = session, thread, live
        self._seat = Seat(session, live, self._deliver, self._break)
        self._events: deque[VoiceEvent] = deque()
        self._news, self._progress = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_task: asyncio.Task[None] | None = None
        self._finished = self._told_all = False
        self._error: VoiceError | None = None

    async def send(self, data: bytes | np.ndarray) -> None:
        """Take audio in the stream's format. Returns once it was looked at, and, unless live, transcribed.

        A live stream waits only where it holds ``max_backlog_seconds`` of audio that the model has not got to.

        Raises:
            StreamClosed: after `finish`.
            VoiceError: the speech model cannot be used.
        """
        async with self._sending:
            if self._finished:
                raise StreamClosed("audio came after the end of the stream; open a new stream")
            self._stop_idle_timer()
            before = self._session.received
            await self._take(data)
            while self._live and self._backlogged and not self._done:
                await self._wait()
            self._raise_error()
            piece = seconds(self._session.received - before)  # the next may well take as long to come
            wait = piece + self._session.settings.idle_timeout_seconds
            self._idle_timer = self._loop.call_later(wait, self._fall_idle, self._session.received)

    def adopt(
        self, settings: VoiceSettings, *, transcriber: Transcriber | None = None, hotwords: tuple[str, ...] = ()
    ) -> None:
        """As `ListeningSession.adopt`; any thread may call it."""
        with self._seat.lock:
            self._session.adopt(settings, hotwords=hotwords, transcriber=transcriber)

    async def lost(self, count: int) -> None:
        """Count ``count`` samples of stream time that were lost before they could be sent."""
        with self._seat.lock:
            self._deliver(self._session.lost(count))

    async def send_all(self, audio: AsyncIterable[bytes | np.ndarray]) -> None:
        """Send ``audio`` to its end, then finish; also when it breaks off, before its error is raised."""
        try:
            async for data in audio:
                await self.send(data)
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            await self.finish()

    async def finish(self) -> None:
        """No more audio will come: returns when the last event is there to be read."""
        async with self._sending:
            if not self._finished:
                self._finished = True
                self._stop_idle_timer()
                await self._take(None)
                await self._close("end")
                self._told_all = True
                self._news.set()
            self._raise_error()

    def abandon(self) -> None:
        """Forget the stream and whatever it has left to do."""
        self._finished = self._told_all = True
        self._stop_idle_timer()
        self._thread.leave(self._seat)
        with self._seat.lock:
            self._session.abandon()
            self._seat.after_job()  # whoever waits for the end need not wait any more
        self._events.clear()
        self._news.set()

    @property
    def listening(self) -> bool:
        """True while an utterance is open."""
        return self._session.listening

    @property
    def metrics(self) -> VoiceMetrics:
        with self._seat.lock:
            return self._session.metrics.snapshot()

    async def __aenter__(self) -> TranscriptionStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.finish()
        else:
            self.abandon()

    async def __aiter__(self) -> AsyncIterator[VoiceEvent]:
        """The events in order. A partial that nobody read before the next of its utterance came is left out.

        Raises:
            VoiceError: the speech model cannot be used.
        """
        while True:
            while self._events:
                yield self._events.popleft()
            if self._told_all or self._error is not None:
                self._raise_error()
                return
            await self._news.wait()
            self._news.clear()

    # What follows up to `_deliver` runs under the loop or in a thread of `asyncio.to_thread`, one at a time.

    def _push(self, data: bytes | np.ndarray | None) -> None:
        if data is None:
            self._session.finish()
        else:
            self._session.push(data)
            self._seat.heard()

    async def _take(self, data: bytes | np.ndarray | None) -> None:
        """Look at all audio; unless live, do each job before looking further."""
        more = await asyncio.to_thread(self._step, data, first=True)
        while more and self._error is None:
            while not self._done:
                await self._wait()
            more = await asyncio.to_thread(self._step)

    def _step(self, data: bytes | np.ndarray | None = None, first: bool = False) -> bool:
        """False: all audio was looked at. The ``first`` time takes ``data``; None: it is the end."""
        with self._seat.lock:
            if first:
                self._push(data)
            more = True
            while more and (self._live or not self._session.has_job):
                events = self._session.step()
                more = events is not None
                if events:
                    self._deliver(events)
            asks, urgent = self._session.has_job, self._session.urgent
        if asks:
            self._thread.ask(self._seat, urgent)
        return more

    async def _close(self, reason: Literal["idle", "end"]) -> None:
        def stop() -> bool:
            with self._seat.lock:
                self._deliver(self._session.stop(reason))
                self._seat.end_when_settled()
                return self._session.has_job

        if await asyncio.to_thread(stop):
            self._thread.ask(self._seat, urgent=True)
        self._progress.clear()
        while not self._ended():
            await self._progress.wait()
            self._progress.clear()

    def _fall_idle(self, received: int) -> None:
        self._idle_task = self._loop.create_task(self._tell_idle(received))

    async def _tell_idle(self, received: int) -> None:
        """Close what is open, unless more has come since the stream held ``received`` samples."""
        async with self._sending:
            if not self._finished and self._session.received == received:
                await self._close("idle")

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    async def _wait(self) -> None:
        self._progress.clear()
        if not self._done:
            await self._progress.wait()

    def _ended(self) -> bool:
        """The last events were delivered: that no job is left is known a moment before."""
        with self._seat.lock:
            return not self._seat.ending or self._error is not None

    @property
    def _backlogged(self) -> bool:
        """More audio is held than the settings allow."""
        return self._session.held > samples(self._session.settings.max_backlog_seconds)

    @property
    def _done(self) -> bool:
        """No job is left, or none will be done."""
        return self._session.settled or self._error is not None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _deliver(self, events: list[VoiceEvent]) -> None:
        """Called with the seat's lock held, by any thread."""
        for event in events:
            last = self._events[-1] if self._events else None
            if isinstance(event, Partial) and isinstance(last, Partial) and last.utterance == event.utterance:
                self._events[-1] = event
            else:
                self._events.append(event)
        self._wake()

    def _break(self, error: VoiceError) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)
            self._loop.call_soon_threadsafe(self._progress.set)
