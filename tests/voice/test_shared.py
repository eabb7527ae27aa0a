"""Many streams, one model, one thread: nothing lost, nobody starved."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice import (
    EndOfTurn,
    Final,
    Partial,
    SharedTranscription,
    SpeechModelNotFound,
    SpeechStarted,
    StreamClosed,
    StreamingTranscriber,
    TranscriptionStream,
    VoiceError,
    VoiceEvent,
)
from capibara.voice.decoding import Seat
from capibara.voice.values import Dropped

from .tones import ToneTranscriber, stream, tone_classifier

TALK = stream(0.6, "one two three four five", 1.2, "six seven", 1.0)
TEXTS = ["one two three four five", "six seven"]


class Held(ToneTranscriber):
    """Decodes nothing until it is let go, so that jobs pile up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def transcribe(self, audio, options):
        assert self.gate.wait(60)
        return super().transcribe(audio, options)


def shared(transcriber: ToneTranscriber | None = None, **options) -> SharedTranscription:
    return SharedTranscription(transcriber or ToneTranscriber(), VoiceSettings(**options))


def finals(events: list[VoiceEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


async def read(opened: TranscriptionStream) -> list[VoiceEvent]:
    return [event async for event in opened]


async def talk(opened: TranscriptionStream, audio: np.ndarray = TALK, piece: int = 4_000) -> list[VoiceEvent]:
    reading = asyncio.create_task(read(opened))
    for at in range(0, len(audio), piece):
        await opened.send(audio[at : at + piece])
    await opened.finish()
    return await reading


def alone(audio: np.ndarray = TALK) -> list[VoiceEvent]:
    streaming = StreamingTranscriber(ToneTranscriber(), classifier=tone_classifier())
    return streaming.feed(audio) + streaming.finish()


def settled(events: list[VoiceEvent]) -> list[VoiceEvent]:
    return [event for event in events if isinstance(event, (Final, EndOfTurn))]


def test_the_last_turn_is_told_although_the_thread_is_slow_to_tell_it(monkeypatch):
    """The model's thread has done the last job a moment before it delivers what comes of it."""
    told = Seat.after_job

    def slowly(seat: Seat) -> None:
        time.sleep(0.05)
        told(seat)

    monkeypatch.setattr(Seat, "after_job", slowly)

    async def run():
        service = shared()
        try:
            return await talk(service.open(classifier=tone_classifier()), audio=stream(0.6, "one two three", 0.1))
        finally:
            await asyncio.to_thread(service.close)

    assert [event.text for event in asyncio.run(run()) if isinstance(event, EndOfTurn)] == ["one two three"]


@pytest.mark.parametrize("piece", [160, 4_000, 100_000])
def test_a_stream_that_waits_for_the_model_tells_what_it_would_tell_alone(piece):
    async def run():
        service = shared()
        try:
            return await talk(service.open(live=False, classifier=tone_classifier()), piece=piece)
        finally:
            service.close()

    assert settled(asyncio.run(run())) == settled(alone())


def test_a_model_that_lags_behind_costs_partials_and_no_final():
    transcriber = Held()

    async def run():
        service = shared(transcriber)
        opened = service.open(classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        await opened.send(TALK)
        transcriber.gate.set()
        await opened.finish()
        service.close()
        return await reading, opened.metrics

    events, metrics = asyncio.run(run())
    assert finals(events) == TEXTS
    assert settled(events) == settled(alone())  # turns end where they would have ended with a quicker model
    dropped = [event for event in events if isinstance(event, Dropped)]
    assert metrics.partials_dropped == len(dropped) > 0
    assert {(event.what, event.reason) for event in dropped} == {("partial", "overload")}


def test_fifty_streams_lose_no_final_and_are_served_in_turn():
    transcriber = Held()

    async def run():
        service = shared(transcriber)
        opened = [service.open(classifier=tone_classifier()) for _ in range(50)]
        reading = [asyncio.create_task(read(one)) for one in opened]
        ends: list[int] = []

        async def drive(number: int) -> None:
            for at in range(0, len(TALK), 16_000):
                await opened[number].send(TALK[at : at + 16_000])
                await asyncio.sleep(0)
            if number == 49:
                transcriber.gate.set()
            await opened[number].finish()
            ends.append(number)

        await asyncio.gather(*map(drive, range(50)))
        service.close()
        return [await one for one in reading], [one.metrics for one in opened]

    heard, metrics = asyncio.run(run())
    assert [finals(events) for events in heard] == [TEXTS] * 50
    assert max(m.model_calls for m in metrics) - min(m.model_calls for m in metrics) <= 3
    assert all(m.final_calls >= 2 for m in metrics)


def test_finals_are_decoded_before_the_partials_of_others():
    transcriber = Held()

    async def run():
        service = shared(transcriber)
        chatty, done = (service.open(classifier=tone_classifier()) for _ in range(2))
        order: list[str] = []

        async def note(opened: TranscriptionStream, name: str) -> None:
            async for event in opened:
                if isinstance(event, (Partial, Final)):
                    order.append(f"{name} {type(event).__name__}")

        reading = [asyncio.create_task(note(chatty, "chatty")), asyncio.create_task(note(done, "done"))]
        await chatty.send(stream(0.5, "one two three four"))
        await done.send(stream(0.5, "five six"))
        await done.send(stream(1.0))
        await chatty.send(stream(0.05, "five six seven"))
        transcriber.gate.set()
        await done.finish()
        await chatty.finish()
        service.close()
        await asyncio.gather(*reading)
        return order

    order = asyncio.run(run())
    assert order.index("done Final") < order.index("chatty Final")
    assert order[:2].count("chatty Partial") <= 1  # the one that was under way


def test_a_stream_that_nobody_sends_to_tells_what_it_heard():
    async def run():
        service = shared(idle_timeout_seconds=0.05)
        opened = service.open(classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        await opened.send(stream(0.5, "one two three")[:-160])
        await opened.send(stream(0.01))
        while opened.listening or opened.metrics.turns == 0:
            await asyncio.sleep(0.01)
        await opened.send(stream(0.5, "four five"))
        await opened.finish()
        service.close()
        return await reading

    events = asyncio.run(run())
    assert finals(events) == ["one two three", "four five"]
    assert [event.reason for event in events if isinstance(event, Final)] == ["idle", "end"]
    assert [event.text for event in events if isinstance(event, EndOfTurn)] == ["one two three", "four five"]


def test_pieces_that_are_longer_than_the_idle_timeout_do_not_cut_speech():
    async def run():
        service = shared(idle_timeout_seconds=0.05)
        opened = service.open(classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        audio = stream(0.2, "one two three")
        for at in range(0, len(audio), 8_000):
            await opened.send(audio[at : at + 8_000])
            await asyncio.sleep(0.3)
        await opened.finish()
        service.close()
        return await reading

    assert finals(asyncio.run(run())) == ["one two three"]


def test_a_live_stream_waits_rather_than_hold_more_audio_than_allowed():
    transcriber = Held()

    async def run():
        service = shared(transcriber, max_backlog_seconds=30)
        opened = service.open(classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(40):
                await opened.send(TALK)
                sent += 1
            await opened.finish()

        sending = asyncio.create_task(send())
        while sent < 5:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        waited_at = sent
        transcriber.gate.set()
        await sending
        service.close()
        return waited_at, await reading

    waited_at, events = asyncio.run(run())
    assert waited_at * len(TALK) / 16_000 < 45
    assert finals(events) == TEXTS * 40


def test_a_partial_that_nobody_read_gives_way_to_the_next():
    async def run():
        service = shared()
        opened = service.open(live=False, classifier=tone_classifier())
        await opened.send(TALK)
        await opened.finish()
        service.close()
        return await read(opened)

    events = asyncio.run(run())
    pairs = itertools.pairwise(events)
    assert not any(isinstance(a, Partial) and isinstance(b, Partial) and a.utterance == b.utterance for a, b in pairs)
    assert settled(events) == settled(alone())


def test_a_model_that_cannot_be_loaded_is_said_to_sender_and_reader():
    class Missing(ToneTranscriber):
        def transcribe(self, audio, options):
            raise SpeechModelNotFound("speech model x is not here")

    async def run():
        service = shared(Missing())
        opened = service.open(live=False, classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        with pytest.raises(SpeechModelNotFound):
            await opened.send(TALK)
        with pytest.raises(SpeechModelNotFound):
            await reading
        service.close()

    asyncio.run(run())


def test_a_fault_in_the_model_ends_streams_with_an_error_and_never_hangs():
    class Faulty(ToneTranscriber):
        def transcribe(self, audio, options):
            raise ZeroDivisionError

    async def run():
        service = shared(Faulty())
        opened = service.open(live=False, classifier=tone_classifier())
        with pytest.raises(VoiceError, match=r"speech model tones failed \(ZeroDivisionError"):
            await opened.send(TALK)
        with pytest.raises(VoiceError):
            await service.open(live=False, classifier=tone_classifier()).send(TALK)
        service.close()

    asyncio.run(run())


def test_leaving_with_an_error_abandons_the_stream_and_others_go_on():
    async def run():
        service = shared()
        opened = service.open(classifier=tone_classifier())

        async def leave() -> None:
            async with opened:
                await opened.send(TALK)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()
        with pytest.raises(StreamClosed):
            await opened.send(TALK)
        other = await talk(service.open(live=False, classifier=tone_classifier()))
        service.close()
        return other

    assert finals(asyncio.run(run())) == TEXTS


def test_a_source_that_breaks_off_is_told_to_its_end_before_the_error():
    async def source():
        yield stream(0.5, "one two three")
        raise OSError("unplugged")

    async def run():
        service = shared()
        opened = service.open(live=False, classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        with pytest.raises(OSError, match="unplugged"):
            await opened.send_all(source())
        service.close()
        return await reading

    assert finals(asyncio.run(run())) == ["one two three"]


def test_audio_that_was_lost_before_it_came_is_told_and_counted():
    async def run():
        service = shared()
        opened = service.open(classifier=tone_classifier())
        await opened.lost(16_000)
        await opened.finish()
        service.close()
        return await read(opened), opened.metrics

    events, metrics = asyncio.run(run())
    assert [(event.what, event.reason, event.count) for event in events] == [("audio", "overflow", 16_000)]
    assert metrics.audio_seconds_dropped == 1.0


def test_the_start_of_speech_is_told_before_anything_of_it():
    async def run():
        service = shared()
        events = await talk(service.open(classifier=tone_classifier()))
        service.close()
        return events

    events = asyncio.run(run())
    for utterance in (1, 2):
        of_it = [type(event) for event in events if getattr(event, "utterance", None) == utterance]
        assert of_it[0] is SpeechStarted
        assert of_it.count(Final) == 1
        assert of_it[-1] is Final
