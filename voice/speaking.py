"""Speaks an answer sentence by sentence while more of it comes; says at any moment how much of it was heard."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Generator

import numpy as np
from jaxtyping import Float32

from .errors import VoiceError
from .heard import HeardText
from .playback import ClockedSink
from .protocols import AudioSink, Synthesizer
from .resample import resampled
from .speakable import Sentence
from .values import SAMPLE_RATE

_LOG = logging.getLogger(__name__)
_PART_SECONDS = 0.25
"""Speech is written in parts so short that the bound on what is written ahead holds."""
_POLL_SECONDS = 0.05


class Speaker:
    """One voice at a time on one sink; one answer after another. Thread-safe; a thread of its own synthesises.

    `begin` an answer, `say` its sentences, `finish` it; `pause`, `resume` and `stop` act at once. Without a
    ``synthesizer`` nothing is said. The sink keeps the sample rate of the first voice: others are resampled to it.
    """

    def __init__(self, synthesizer: Synthesizer | None, sink: AudioSink, ahead_seconds: float = 10.0) -> None:
        self._voice = self._next = synthesizer
        """What speaks the answer that was begun, and the one after it."""
        self._ahead = self._next_ahead = ahead_seconds
        self._sink = sink
        self._rate: int | None = None
        """Of the sink; None until something is spoken."""
        self._changed = threading.Condition()
        self._sentences: deque[tuple[Sentence, str]] = deque()
        self._heard = HeardText()
        self._reported = 0
        self._answer = 0
        """Number of the answer; work for an earlier one is thrown away."""
        self._synthesizing = False
        self._finished = True
        self._closed = False
        self._failure: str | None = None
        """Why the rest of the answer is not spoken."""
        self._told: str | None = None
        self._thread = threading.Thread(target=self._work, name="capibara-speech", daemon=True)
        self._thread.start()

    @property
    def synthesizer(self) -> Synthesizer | None:
        """What speaks the next answer."""
        return self._next

    def adopt(self, synthesizer: Synthesizer | None, ahead_seconds: float) -> None:
        """From the next answer on ``synthesizer`` speaks, so far ahead of what is heard; this one keeps its voice."""
        with self._changed:
            self._next, self._next_ahead = synthesizer, ahead_seconds

    def begin(self) -> None:
        """An answer begins; what is left of the one before is not spoken."""
        with self._changed:
            self._forget()
            self._voice, self._ahead = self._next, self._next_ahead
            self._finished = False

    def say(self, sentence: Sentence, language: str) -> None:
        """Speak ``sentence`` after those before it."""
        with self._changed:
            if self._failure is None and self._voice is not None:
                self._sentences.append((sentence, language))
                self._changed.notify_all()

    def finish(self) -> None:
        """The answer has no more sentences."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def pause(self) -> None:
        self._sink.pause()

    def resume(self) -> None:
        self._sink.resume()

    def stop(self) -> int:
        """Fall silent; the number of characters of the answer that were heard."""
        with self._changed:
            position = self._heard.position(self._sink.played())
            self._forget()
            return position

    def take_heard(self) -> list[Sentence]:
        """The sentences that were heard to their end since the last call."""
        with self._changed:
            sentences = self._heard.sentences(self._sink.played())
            news, self._reported = sentences[self._reported :], len(sentences)
            return news

    def around(self, before_seconds: float, behind_seconds: float) -> str:
        """What is said around this moment: the words that an echo may consist of."""
        with self._changed:
            rate = self._rate or SAMPLE_RATE  # without a rate nothing was written, and every time is none
            return self._heard.around(self._sink.played(), round(before_seconds * rate), round(behind_seconds * rate))

    def position(self) -> int:
        """The number of characters of the answer that were heard so far."""
        with self._changed:
            return self._heard.position(self._sink.played())

    @property
    def sounding(self) -> bool:
        """The answer has begun to be heard."""
        return self._sink.played() > 0

    def holds(self, samples: int) -> bool:
        """Whether speech for ``samples`` of stream time is written and was not heard yet."""
        with self._changed:
            wanted = samples * (self._rate or SAMPLE_RATE) // SAMPLE_RATE + 1
            return self._heard.written - self._sink.played() >= wanted

    @property
    def done(self) -> bool:
        """The answer is finished and was heard to its end."""
        with self._changed:
            return self._finished and not self._owing() and self._sink.played() >= self._heard.written

    def take_failure(self) -> str | None:
        """Why the rest of the answer is not spoken, in one line; the same reason is told once."""
        with self._changed:
            if self._failure == self._told:
                return None
            self._told = self._failure or self._told
            return self._failure

    @property
    def failed(self) -> bool:
        """Something of the answer cannot be spoken."""
        with self._changed:
            return self._failure is not None

    def advance(self, samples: int) -> None:
        """``samples`` of the stream, at 16 kHz, have passed: the clock of a sink without one of its own."""
        if isinstance(self._sink, ClockedSink):
            self._sink.advance(samples)
        with self._changed:
            self._changed.notify_all()

    def wait_until_ready(self, samples: int, timeout: float) -> bool:
        """Wait until speech for ``samples`` of stream time is written, or none is owed; False when time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._owing() or self.holds(samples), timeout)

    def close(self) -> None:
        """Fall silent for good and let the sink go."""
        with self._changed:
            self._forget()
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        self._sink.close()

    def _owing(self) -> bool:
        return bool(self._sentences) or self._synthesizing

    def _forget(self) -> None:
        self._answer += 1
        self._sentences.clear()
        self._heard = HeardText()
        self._reported = 0
        self._failure = None
        self._finished = True
        self._sink.clear()
        self._changed.notify_all()

    def _work(self) -> None:
        while self._speak_next():
            pass

    def _speak_next(self) -> bool:
        """Wait for a sentence and speak it; False when the speaker was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._sentences or self._closed)
            voice = self._voice
            if self._closed or voice is None:
                return False
            (sentence, language), answer = self._sentences.popleft(), self._answer
            self._heard.begin(sentence)
            self._synthesizing = True
        try:
            self._speak(voice, sentence, language, answer)
        except VoiceError as error:
            self._fail(str(error), answer)
        except Exception as error:  # noqa: BLE001 -- a voice is foreign code; the answer is still read on screen
            _LOG.debug("speaking failed", exc_info=True)
            self._fail(f"speaking failed ({type(error).__name__}: {error})".replace("\n", " "), answer)
        finally:
            with self._changed:
                self._synthesizing = False
                self._changed.notify_all()
        return True

    def _speak(self, voice: Synthesizer, sentence: Sentence, language: str, answer: int) -> None:
        rate = self._rate = self._rate or voice.sample_rate
        part = max(1, round(_PART_SECONDS * rate))
        spoken = voice.synthesize(sentence.text, language)
        try:
            for block in resampled(spoken, voice.sample_rate, rate):
                for start in range(0, len(block), part):
                    if not self._write(block[start : start + part], rate, answer):
                        return
        finally:
            if isinstance(spoken, Generator):
                spoken.close()
        with self._changed:
            if answer == self._answer:
                self._heard.finish()

    def _write(self, samples: Float32[np.ndarray, " S"], rate: int, answer: int) -> bool:
        """Write when there is room; False when the answer is over."""
        with self._changed:
            while answer == self._answer and self._heard.written - self._sink.played() > self._ahead * rate:
                self._changed.wait(_POLL_SECONDS)
            if answer != self._answer:
                return False
            self._sink.write(samples, rate)
            self._heard.wrote(samples)
            self._changed.notify_all()
            return True

    def _fail(self, reason: str, answer: int) -> None:
        with self._changed:
            if answer == self._answer:
                self._failure = reason
                self._sentences.clear()
