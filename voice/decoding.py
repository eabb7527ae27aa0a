"""One thread that decodes for many streams, for each in turn, finals before partials; each job names its model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from .errors import TranscriptionFailed, VoiceError
from .jobs import DecodeJob
from .session import ListeningSession
from .values import Transcript, VoiceEvent, seconds


class Seat:
    """A stream's place at the model: its session, the lock that guards it, and where its events go.

    ``deliver`` is called with the lock held, by whichever thread made the events, so that they stay in order.
    """

    def __init__(
        self,
        session: ListeningSession,
        live: bool,
        deliver: Callable[[list[VoiceEvent]], None],
        broke: Callable[[VoiceError], None],
    ) -> None:
        self.session = session
        self.lock = threading.Lock()
        self.deliver = deliver
        self.broke = broke
        self._live = live
        self._heard_at = time.monotonic()
        self._busy_until = 0.0
        self.ending = False
        """The last events are still to come. Read with the lock held, after which they are there once this is False."""

    @property
    def waiting(self) -> bool:
        """Something is still to be told."""
        with self.lock:
            return self.ending or not self.session.settled

    def heard(self) -> None:
        """The newest audio of the session was made just now."""
        self._heard_at = time.monotonic()

    def told_at(self, job: DecodeJob, took: float) -> float:
        """Stream time in seconds: by the clock for a live stream, else as if its audio came in real time."""
        if self._live:
            return seconds(self.session.received) + time.monotonic() - self._heard_at
        self._busy_until = max(seconds(job.due), self._busy_until) + took
        return self._busy_until

    def end_when_settled(self) -> None:
        """Tell the end of the turn as soon as no job is left. Call with the lock held."""
        self.ending = True
        self.after_job()

    def after_job(self) -> None:
        """What there is to tell once no job is left. Call with the lock held."""
        if self.ending and self.session.settled:
            self.ending = False
            self.deliver(self.session.end(self._busy_until))


class DecodingThread:
    """Takes the seats that have jobs in the order they asked; one that asks for a final comes before those that do not.

    A seat that was served goes to the end of the line, so that no stream can hold up the others.
    """

    def __init__(self) -> None:
        self._line: dict[Seat, bool] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="capibara-transcription", daemon=True)
        self._thread.start()

    def ask(self, seat: Seat, urgent: bool) -> None:
        """Serve ``seat``; asking again changes whether it is urgent, not its place.

        Raises:
            VoiceError: the thread was closed.
        """
        with self._changed:
            if self._closed:
                raise VoiceError("transcription was closed while streams were open")
            self._line[seat] = urgent
            self._changed.notify()

    def leave(self, seat: Seat) -> None:
        with self._changed:
            self._line.pop(seat, None)

    def close(self) -> None:
        """Stop after the decode that is under way; seats that still wait are told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        served: list[Seat] = []
        try:
            while (seat := self._next()) is not None:
                served = [seat]
                self._serve(seat)
                served = []
                del seat  # while nothing is to be done, nothing of a stream is kept, nor its model
        finally:
            with self._changed:
                self._closed, waiting = True, [*served, *self._line]
            for seat in waiting:
                if seat.waiting:  # not where what was asked for had just been done
                    seat.broke(VoiceError("transcription stopped before this stream was done"))

    def _next(self) -> Seat | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._line)
            if self._closed:
                return None
            seat = next((seat for seat, urgent in self._line.items() if urgent), None) or next(iter(self._line))
            del self._line[seat]
            return seat

    def _serve(self, seat: Seat) -> None:
        """Do the seat's next job. Whatever is wrong with it breaks this stream; the others have models of their own."""
        job: DecodeJob | None = None
        try:
            with seat.lock:
                job = seat.session.next_job()
            if job is not None:
                self._decode(seat, job)
        except VoiceError as error:
            seat.broke(error)
        except Exception as error:  # noqa: BLE001 -- a model is a stranger's
            what = f"speech model {job.transcriber.name}" if job is not None else "transcription"
            broken = VoiceError(f"{what} failed ({type(error).__name__}: {error})")
            broken.__cause__ = error
            seat.broke(broken)

    def _decode(self, seat: Seat, job: DecodeJob) -> None:
        begun = time.perf_counter()
        transcript: Transcript | None = None
        with contextlib.suppress(TranscriptionFailed):
            transcript = job.transcriber.transcribe(job.audio, job.options)
        took = time.perf_counter() - begun
        with seat.lock:
            at = seat.told_at(job, took)
            if transcript is None:
                seat.deliver(seat.session.fail(job, at=at))
            else:
                seat.deliver(seat.session.complete(job, transcript, took=took, at=at))
            seat.after_job()
            more, urgent = seat.session.has_job, seat.session.urgent
        with self._changed:
            if more and not self._closed:
                self._line[seat] = urgent
