"""Settings and models that change in live streams: one thread does the jobs of old and new models."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator

import numpy as np
import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice import Final, SharedTranscription, SpeechModelNotFound, TranscriptionStream, VoiceError, VoiceEvent

from .tones import ToneTranscriber, stream, tone_classifier

ONE, TWO = stream(0.6, "one two three four", 1.2), stream("six seven", 1.2)


class Held(ToneTranscriber):
    """Decodes nothing until it is let go, so that jobs pile up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def transcribe(self, audio, options):
        assert self.gate.wait(60)
        return super().transcribe(audio, options)


class Missing(ToneTranscriber):
    def transcribe(self, audio, options):
        raise SpeechModelNotFound("speech model x is not here")


class Broken(ToneTranscriber):
    name = "broken"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def transcribe(self, audio, options):
        raise self.error


def finals(events: list[VoiceEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


async def at_once(audio: np.ndarray) -> AsyncIterator[np.ndarray]:
    yield audio


async def read(opened: TranscriptionStream) -> list[VoiceEvent]:
    return [event async for event in opened]


def test_jobs_that_wait_are_done_by_the_model_that_their_utterance_began_with():
    old, new = Held(), ToneTranscriber()

    async def run():
        service = SharedTranscription()
        opened = service.open(transcriber=old, classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        await opened.send(ONE)
        opened.adopt(VoiceSettings(), transcriber=new)
        await opened.send(TWO)
        assert new.calls == []
        old.gate.set()
        await opened.finish()
        await asyncio.to_thread(service.close)
        return await reading

    assert finals(asyncio.run(run())) == ["one two three four", "six seven"]
    assert old.calls[-1][1].final
    assert max(length for length, _ in new.calls) < 1.6 * 16_000


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), Exception("no JSON"), MemoryError()])
def test_a_model_that_fails_in_any_way_ends_its_own_streams_alone(error):
    async def run():
        service = SharedTranscription(ToneTranscriber())
        sound = service.open(classifier=tone_classifier())
        broken = service.open(transcriber=Broken(error), classifier=tone_classifier())
        reading = [asyncio.create_task(read(one)) for one in (sound, broken)]
        await sound.send(ONE)
        with pytest.raises(VoiceError, match=r"speech model broken failed") as raised:
            await broken.send_all(at_once(ONE))
        assert raised.value.__cause__ is error
        with pytest.raises(VoiceError):
            await reading[1]
        await sound.finish()
        later = service.open(classifier=tone_classifier())
        reading[1] = asyncio.create_task(read(later))
        await later.send(TWO)
        await later.finish()
        await asyncio.to_thread(service.close)
        return [finals(await one) for one in reading]

    assert asyncio.run(run()) == [["one two three four"], ["six seven"]]


def test_two_streams_of_one_thread_have_each_their_own_model():
    models = [ToneTranscriber(), ToneTranscriber()]

    async def run():
        service = SharedTranscription(models[0])
        streams = [service.open(classifier=tone_classifier(), transcriber=model) for model in (None, models[1])]
        reading = [asyncio.create_task(read(one)) for one in streams]
        for one, sound in zip(streams, (ONE, TWO), strict=True):
            await one.send(sound)
            await one.finish()
        await asyncio.to_thread(service.close)
        return [finals(await one) for one in reading]

    assert asyncio.run(run()) == [["one two three four"], ["six seven"]]
    assert all(model.calls for model in models)


def test_a_new_model_that_is_missing_ends_only_the_streams_that_adopted_it():
    async def run():
        service = SharedTranscription(ToneTranscriber())
        broken, sound = (service.open(live=False, classifier=tone_classifier()) for _ in range(2))
        reading = [asyncio.create_task(read(one)) for one in (broken, sound)]
        for one in (broken, sound):
            await one.send(ONE)
        broken.adopt(VoiceSettings(), transcriber=Missing())
        with pytest.raises(SpeechModelNotFound):
            await broken.send(TWO)
        await sound.send(TWO)
        await sound.finish()
        with pytest.raises(SpeechModelNotFound):
            await reading[0]
        await asyncio.to_thread(service.close)
        return await reading[1]

    assert finals(asyncio.run(run())) == ["one two three four", "six seven"]


def test_a_stream_for_which_no_model_is_named_is_refused():
    async def run():
        service = SharedTranscription()
        with pytest.raises(VoiceError, match="no speech model"):
            service.open(classifier=tone_classifier())
        await asyncio.to_thread(service.close)

    asyncio.run(run())


def test_settings_may_be_adopted_by_another_thread_while_audio_comes():
    async def run():
        service = SharedTranscription(ToneTranscriber())
        opened = service.open(live=False, classifier=tone_classifier())
        reading = asyncio.create_task(read(opened))
        stop = threading.Event()

        def adopt() -> None:
            while not stop.is_set():
                for seconds in (0.4, 0.5):
                    opened.adopt(VoiceSettings(hangover_seconds=seconds))

        adopting = asyncio.create_task(asyncio.to_thread(adopt))
        for _ in range(5):
            for sound in (ONE, TWO):
                await opened.send(sound)
        stop.set()
        await adopting
        await opened.finish()
        await asyncio.to_thread(service.close)
        return await reading

    assert finals(asyncio.run(run())) == ["one two three four", "six seven"] * 5


def test_the_idle_timeout_of_the_next_utterance_is_the_new_one():
    async def run():
        service = SharedTranscription(ToneTranscriber())
        opened = service.open(classifier=tone_classifier(), settings=VoiceSettings(idle_timeout_seconds=60))
        reading = asyncio.create_task(read(opened))
        opened.adopt(VoiceSettings(idle_timeout_seconds=0.05))
        await opened.send(stream(0.5, "one two three")[:-160])
        deadline = time.monotonic() + 30
        while opened.metrics.turns == 0 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await opened.finish()
        await asyncio.to_thread(service.close)
        return await reading

    [final] = [event for event in asyncio.run(run()) if isinstance(event, Final)]
    assert (final.text, final.reason) == ("one two three", "idle")


def test_an_old_model_goes_while_the_stream_and_its_thread_go_on():
    async def run():
        service, old = SharedTranscription(), ToneTranscriber()
        gone = weakref.ref(old)
        opened = service.open(live=False, transcriber=old, classifier=tone_classifier())
        await opened.send(ONE)
        opened.adopt(VoiceSettings(), transcriber=ToneTranscriber())
        del old
        deadline = time.monotonic() + 30
        while gone() is not None and time.monotonic() < deadline:  # the thread may be about to put its last job down
            gc.collect()
            await asyncio.sleep(0.01)
        kept = gone() is not None
        await opened.finish()
        await asyncio.to_thread(service.close)
        return kept

    assert not asyncio.run(run())


def test_the_thread_keeps_nothing_of_a_stream_that_has_ended():
    async def run():
        service = SharedTranscription()
        opened = service.open(live=False, transcriber=(model := ToneTranscriber()), classifier=tone_classifier())
        gone = weakref.ref(model)
        del model
        await opened.send(ONE)
        await opened.finish()
        del opened
        deadline = time.monotonic() + 30
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
            await asyncio.sleep(0.01)
        kept = gone() is not None
        await asyncio.to_thread(service.close)
        return kept

    assert not asyncio.run(run())
