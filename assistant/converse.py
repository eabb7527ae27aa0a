"""A spoken conversation as a stream of events: audio in, what was heard, answered, spoken and interrupted out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import TYPE_CHECKING

import numpy as np

from ..config.schema import Settings
from ..voice.protocols import AudioSource, LossySource, Transcriber
from ..voice.pulling import BLOCK_SECONDS, frames_in, parts, pulled
from ..voice.shared import SharedTranscription, TranscriptionStream
from ..voice.speaking import Speaker
from ..voice.streaming import StreamingTranscriber
from ..voice.values import SAMPLE_RATE, AudioFormat, samples
from .spoken import ConversationEvent
from .turn_taking import TurnTaking
from .voice_setup import VoiceSetup

if TYPE_CHECKING:
    from ..voice.metrics import VoiceMetrics
    from .assistant import Assistant

_LOG = logging.getLogger(__name__)
_STEP = samples(BLOCK_SECONDS)
Audio = AudioSource | AsyncIterable[bytes | np.ndarray]


class SpokenConversation:
    """Iterate over it, once, for its events. Made by `Assistant.converse`.

    Every decision is made at a sample of the audio. Live audio comes at its own pace, and so does the answer.
    Otherwise the audio waits for transcripts, answers and speech, as if to make them took no time: what is understood
    and what is heard are then the same on every machine.

    What ``latest`` gives is taken up between two blocks of audio: it is heard by with the next utterance, and spoken by
    with the next answer. Those under way end as they began.
    """

    def __init__(
        self,
        assistant: Assistant,
        audio: Audio,
        audio_format: AudioFormat,
        listening: Transcriber | SharedTranscription,
        speaker: Speaker | None,
        *,
        collection: str | None = None,
        conversation: str | None = None,
        paced: bool = False,
        latest: Callable[[], VoiceSetup] | None = None,
    ) -> None:
        """``listening``: what gives live streams, or a model that is called step by step.

        ``latest`` is asked often and gives the same object until something has changed; its speech model and voice
        stand in for those of ``listening`` and ``speaker``. None: they and the settings of this moment stay.
        """
        self.conversation = conversation or assistant.start_conversation(collection)
        """Id of the conversation in the assistant's store."""
        self._assistant = assistant
        self._latest = latest or _constantly(assistant.settings, listening, speaker)
        self._setup = self._latest()
        """The latest that was looked at."""
        self._trouble = ""
        self._audio, self._format = audio, audio_format
        self._listening, self._speaker = listening, speaker
        self._collection = collection
        self._paced = paced
        self._clock = 0.0
        self._lost = 0
        self._listener: StreamingTranscriber | TranscriptionStream | None = None
        self._events: asyncio.Queue[ConversationEvent | BaseException | None] = asyncio.Queue()
        self._turns = TurnTaking(
            assistant, self._setup, speaker, collection, self.conversation, self._events.put_nowait
        )

    @property
    def metrics(self) -> VoiceMetrics | None:
        """What listening cost so far; None before it began."""
        return self._listener.metrics if self._listener is not None else None

    def interrupt(self) -> bool:
        """End the answer under way, as speech would; False when there is none. To be called in the event loop."""
        if not self._turns.answering:
            return False
        self._turns.stop()
        return True

    async def __aiter__(self) -> AsyncGenerator[ConversationEvent]:
        """The events in order. Leaving the loop ends the conversation.

        Raises:
            AudioError: the audio broke off; what was said before has been answered.
            VoiceError: the speech model cannot be used.
        """
        work = asyncio.get_running_loop().create_task(self._run())
        work.add_done_callback(self._ended)
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            await self._turns.leave()
            work.cancel()
            await asyncio.wait([work])
            await self._turns.settle()
            if self._speaker is not None:
                await asyncio.to_thread(self._speaker.close)

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._events.put_nowait(None if work.cancelled() else work.exception())

    async def _run(self) -> None:
        if isinstance(self._listening, SharedTranscription):
            await self._listen(self._listening)
        else:
            await self._listen_stepwise()

    async def _listen(self, shared: SharedTranscription) -> None:
        setup = self._setup
        stream = self._listener = shared.open(
            self._format,
            transcriber=setup.transcriber,
            settings=setup.settings.voice,
            hotwords=self._hotwords(setup.settings),
        )
        heeding = asyncio.get_running_loop().create_task(self._heed_all(stream))
        try:
            async for block in self._blocks():
                await self._take_up(stream)
                await self._count_lost(stream)
                await stream.send(block)
                self._turns.pass_time(self._samples_in(block))
        except asyncio.CancelledError:
            stream.abandon()
            raise
        finally:
            await stream.finish()
            await heeding
            await self._until_answered(live=True)

    async def _count_lost(self, stream: TranscriptionStream) -> None:
        """Tell of audio that the source dropped because it was not fetched in time."""
        if isinstance(self._audio, LossySource) and self._audio.lost_samples > self._lost:
            new = self._audio.lost_samples - self._lost
            self._lost += new
            await stream.lost(round(new * SAMPLE_RATE / self._format.sample_rate))

    async def _heed_all(self, stream: TranscriptionStream) -> None:
        async for event in stream:
            self._turns.heed(event)

    async def _listen_stepwise(self) -> None:
        setup = self._setup
        stream = self._listener = StreamingTranscriber(
            setup.transcriber,
            setup.settings.voice,
            audio_format=self._format,
            hotwords=self._hotwords(setup.settings),
        )
        try:
            async for block in self._blocks():
                await self._take_up(stream)
                await self._turns.until_ready(_STEP)
                self._turns.pass_time(self._samples_in(block))
                for event in await asyncio.to_thread(stream.feed, block):
                    self._turns.heed(event)
        finally:
            for event in await asyncio.to_thread(stream.finish):
                self._turns.heed(event)
            await self._until_answered(live=False)

    async def _take_up(self, stream: StreamingTranscriber | TranscriptionStream) -> None:
        """Go over to the latest setup, if it is another; where that fails, the conversation goes on as it was."""
        try:
            setup = self._latest()
            if setup is self._setup:
                return
            self._setup = setup
            hotwords = await asyncio.to_thread(self._hotwords, setup.settings)
            await asyncio.to_thread(
                stream.adopt, setup.settings.voice, transcriber=setup.transcriber, hotwords=hotwords
            )
            self._turns.adopt(setup)
            self._trouble = ""
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with new settings, nobody is cut off
            if (trouble := f"{type(error).__name__}: {error}") != self._trouble:
                _LOG.warning("the conversation goes on with the settings it has: %s", trouble)
            self._trouble = trouble

    async def _blocks(self) -> AsyncGenerator[bytes | np.ndarray]:
        if isinstance(self._audio, AsyncIterable):
            async for block in self._audio:
                for part in parts(block, self._format):
                    yield part
            return
        async with contextlib.aclosing(pulled(self._audio, paced=self._paced)) as blocks:
            async for block in blocks:
                yield block

    def _samples_in(self, block: bytes | np.ndarray) -> int:
        """How many samples at 16 kHz have passed with ``block``; fractions are carried on."""
        before = int(self._clock)
        self._clock += frames_in(block, self._format) * SAMPLE_RATE / self._format.sample_rate
        return int(self._clock) - before

    async def _until_answered(self, *, live: bool) -> None:
        """The audio is over: let the answer under way be heard to its end."""
        while self._turns.answering:
            if live:
                await asyncio.sleep(BLOCK_SECONDS)
            else:
                await self._turns.until_ready(_STEP)
            self._turns.pass_time(_STEP)
        await self._turns.settle()

    def _hotwords(self, settings: Settings) -> tuple[str, ...]:
        own = settings.voice.hotwords
        if not settings.voice.hotwords_from_titles:
            return own
        name = self._collection or settings.assistant.collection
        titles = [document.title for document in self._assistant.documents(name)]
        return (*own, *dict.fromkeys(titles))


def _constantly(
    settings: Settings, listening: Transcriber | SharedTranscription, speaker: Speaker | None
) -> Callable[[], VoiceSetup]:
    """Always the same setup, of what the conversation was given."""
    transcriber = listening.transcriber if isinstance(listening, SharedTranscription) else listening
    if transcriber is None:
        raise ValueError("the conversation has no speech model: neither `latest` nor `listening` names one")
    setup = VoiceSetup(settings, transcriber, speaker.synthesizer if speaker is not None else None)
    return lambda: setup
