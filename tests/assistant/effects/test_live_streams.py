"""What holds for streams of live audio after a change of it: the model may lag behind, the audio may stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np

from capibara.assistant import Assistant
from capibara.config.schema import VoiceSettings
from capibara.voice import AudioFormat, EndOfTurn, Final, ListeningSession, Partial, SharedTranscription
from capibara.voice.jobs import DecodeJob

from ...voice.tones import ToneTranscriber, silence, stream
from .observing import PATIENCE, Changes, observes

SECOND = 16_000
TALK = stream(1.0, "one two three", 0.1)


@observes("voice.idle_timeout_seconds")
def test_an_utterance_ends_when_no_audio_came_for_as_long_as_is_set(assistant: Assistant, change: Changes):
    """Twice the audio stops within an utterance; the first time it is given longer than anybody waits here."""
    change(assistant, {"voice.idle_timeout_seconds": 60.0})
    events: list[object] = []
    ended = asyncio.Event()
    waited = []

    async def audio() -> AsyncIterator[np.ndarray]:
        yield TALK
        await asyncio.sleep(0.5)
        waited.extend(events)
        yield silence(1.0)
        await asyncio.to_thread(change, assistant, {"voice.idle_timeout_seconds": 1.0})
        yield TALK
        await asyncio.wait_for(ended.wait(), PATIENCE)

    async def run() -> None:
        service = SharedTranscription(ToneTranscriber())
        async for event in assistant.converse(audio(), listening=service):
            events.append(event)
            if isinstance(event, Final) and event.utterance == 2:
                ended.set()
        await asyncio.to_thread(service.close)

    asyncio.run(run())
    assert not [event for event in waited if isinstance(event, Final)]
    reasons = [event.reason for event in events if isinstance(event, Final)]
    assert (reasons[0], reasons[-1]) == ("silence", "idle")


@observes("voice.max_backlog_seconds")
def test_no_more_audio_is_held_than_is_set_while_the_model_lags_behind(assistant: Assistant, change: Changes):
    before = asyncio.run(_sent_ahead(assistant.settings.voice, PATIENCE))
    change(assistant, {"voice.max_backlog_seconds": 30.0})
    after = asyncio.run(_sent_ahead(assistant.settings.voice, 1.5))
    assert before == 40
    assert after < 36


async def _sent_ahead(settings: VoiceSettings, timeout: float) -> int:
    """Of 40 seconds, those that can be sent within ``timeout`` to a model that decodes nothing."""
    go = threading.Event()
    sent = 0

    class Held(ToneTranscriber):
        def transcribe(self, audio, options):
            assert go.wait(PATIENCE)
            return super().transcribe(audio, options)

    service = SharedTranscription(Held(), settings)
    opened = service.open()

    async def send() -> None:
        nonlocal sent
        for _ in range(10):
            await opened.send(stream(0.5, "one two three four five six seven eight", 0.4))
            sent += 4

    sending = asyncio.create_task(send())
    await asyncio.wait([sending], timeout=timeout)
    ahead = sent
    go.set()
    await sending
    opened.abandon()
    await asyncio.to_thread(service.close)
    return ahead


@observes("voice.transcript_wait_seconds")
def test_a_turn_waits_for_a_slow_transcript_as_long_as_is_set(assistant: Assistant, change: Changes):
    patient = _delay_of_turn(assistant.settings.voice)
    change(assistant, {"voice.transcript_wait_seconds": 1.0})
    hasty = _delay_of_turn(assistant.settings.voice)
    assert abs(patient - 0.6) < 0.04
    assert abs(hasty - 1.0) < 0.04


def _delay_of_turn(settings: VoiceSettings) -> float:
    """Seconds between the end of the speech and that of its turn, where the last transcript comes 3 s late."""
    transcriber = ToneTranscriber()
    session = ListeningSession(transcriber, settings, AudioFormat())
    session.push(stream(1.0, "one two three four five six", 4.0))
    late: list[DecodeJob] = []
    events = []
    while (told := session.step()) is not None:
        events += told
        if not late and (job := session.next_job()) is not None:
            if job.options.final:
                late.append(job)
            else:
                transcript = transcriber.transcribe(job.audio, job.options)
                events += session.complete(job, transcript, took=0.0, at=0.0)
    [job] = late
    events += session.complete(job, transcriber.transcribe(job.audio, job.options), took=3.0, at=0.0)
    assert any(isinstance(event, Partial) and event.committed for event in events)
    [turn] = [event for event in events if isinstance(event, EndOfTurn)]
    return (turn.sample - turn.speech_end) / SECOND
