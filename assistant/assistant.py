"""The facade: documents in, answers with checked citations out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..config.load import LoadedSettings
from ..config.locate import open_settings
from ..config.schema import Settings
from .asynchronous import iterate_cancellable, run_cancellable
from .errors import AssistantError, EmptyQuestion
from .listening import SpeechModels
from .loading import ModelLoader
from .reload import SettingsFile
from .values import Answer, AnswerEvent, AnswerReady

if TYPE_CHECKING:
    from ..model.protocol import LanguageModel
    from ..rag.ingest import IngestProgress
    from ..rag.library import Library, LibraryStatus
    from ..rag.values import Document, IngestReport, SearchResult
    from ..voice.protocols import AudioSink, Synthesizer, Transcriber
    from ..voice.shared import SharedTranscription
    from ..voice.values import AudioFormat
    from .conversations import ConversationStore
    from .converse import Audio, SpokenConversation


class Assistant:
    """Answers from the documents of one data folder. Thread-safe; use it as a context manager.

    >>> with Assistant.open() as assistant:
    ...     assistant.ingest(["~/papers"])
    ...     print(assistant.ask("Who wrote the first one?").text)

    Each method that works long has a twin ending in ``_async`` for use under asyncio; cancelling the task
    stops the work.
    """

    def __init__(self, settings: SettingsFile, data_dir: Path, *, reindex: bool = False) -> None:
        """Use `open`."""
        from ..rag.library import Library
        from .conversations import ConversationStore

        self._file = settings
        self.data_dir = data_dir
        with contextlib.ExitStack() as opened:
            self._library = Library.open(data_dir, settings.current().settings.rag, reindex=reindex)
            opened.callback(self._library.close)
            self._conversations = ConversationStore(data_dir / "conversations.sqlite3")
            opened.callback(self._conversations.close)
            self._models = ModelLoader()
            opened.callback(self._models.close)
            self._speech = SpeechModels()
            opened.callback(self._speech.close)
            self._opened = opened.pop_all()

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        watch: bool = False,
        *,
        overrides: Mapping[str, Any] | None = None,
        reindex: bool = False,
    ) -> Assistant:
        """Open the data folder or TOML file at ``path``, or the user's own data folder.

        ``overrides`` win over the environment and the file. With ``watch`` the file is looked at before each
        request, and a valid change takes effect with that request. ``reindex`` embeds everything again, which
        a changed embedding model needs. Light: models are loaded when first needed, or by `warm_up`.

        Raises:
            ConfigError: unknown settings or bad values, each with its place.
            StoreError: the folder is in use by another process, was made by a newer version, or holds
                vectors of another embedding model.
        """
        loaded, data_dir = open_settings(path, overrides=overrides)
        return cls(SettingsFile(loaded, overrides, watch), data_dir, reindex=reindex)

    def __enter__(self) -> Assistant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the data folder; the object cannot be used afterwards."""
        self._opened.close()

    @property
    def settings(self) -> Settings:
        """The snapshot that the next request sees."""
        return self._file.current().settings

    @property
    def loaded(self) -> LoadedSettings:
        """The snapshot with the place each value came from."""
        return self._file.current()

    @property
    def library(self) -> Library:
        """The documents and their indexes, for uses that the facade does not cover."""
        return self._library

    @property
    def conversations(self) -> ConversationStore:
        """What was asked and answered before."""
        return self._conversations

    def warm_up(self, *, speech: bool = False) -> None:
        """Load what the first question needs now: the language model beside the indexes and the embedding model.

        With ``speech``, the speech model too.

        Raises:
            VoiceError: the speech model is not there, or cannot be loaded.
        """
        if speech:
            self._speech.transcriber(self.settings.voice).warm_up()
        loading = self._models.request(self.settings.model)
        self._library.warm_up()
        loading.result()

    def language_model(self) -> LanguageModel | None:
        """The language model that the settings name, loaded; None where there is none (`Answer.degraded` says why)."""
        return self._models.request(self.settings.model).result().model

    def ingest(
        self,
        paths: Sequence[Path | str] | Path | str,
        collection: str | None = None,
        *,
        prune: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> IngestReport:
        """Read files and folders into ``collection``; what did not change is not read again.

        A file that cannot be read is reported in the outcome and the rest goes on. ``prune`` removes documents
        whose file has vanished from an ingested folder. ``cancel`` stops after the document in work.
        """
        settings = self.settings
        listed = [paths] if isinstance(paths, str | Path) else paths
        return self._library.ingest(
            [Path(path).expanduser() for path in listed],
            collection or settings.assistant.collection,
            settings.rag,
            prune=prune,
            progress=progress,
            cancel=cancel,
        )

    def search(self, query: str, collection: str | None = None, top_k: int | None = None) -> SearchResult:
        """The passages that fit ``query`` best, with the scores of every stage.

        Raises:
            EmptyQuestion: ``query`` is blank.
        """
        settings = self.settings
        return self._library.search(
            _words_of(query), collection or settings.assistant.collection, settings.rag, top_k=top_k
        )

    def ask(
        self,
        question: str,
        collection: str | None = None,
        *,
        conversation: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Answer:
        """Answer ``question``; see `stream` for the arguments and errors."""
        *_, last = self.stream(question, collection, conversation=conversation, cancel=cancel)
        assert isinstance(last, AnswerReady)
        return last.answer

    def stream(
        self,
        question: str,
        collection: str | None = None,
        *,
        conversation: str | None = None,
        keep: bool = True,
        cancel: threading.Event | None = None,
    ) -> Generator[AnswerEvent]:
        """Answer ``question`` as it comes: `Retrieved`, `TextDelta` pieces, and last `AnswerReady`.

        ``conversation`` is an id of `start_conversation`: its collection is searched unless another is named,
        earlier turns are taken into account, and this one is kept, unless ``keep`` is False. Setting ``cancel``
        or closing the iterator stops the work.

        Raises:
            EmptyQuestion: ``question`` is blank.
            UnknownConversation: there is no such conversation.
        """
        from .answering import Answerer

        words = _words_of(question)
        settings = self.settings
        history = self._conversations.turns(conversation, settings.assistant.history_turns) if conversation else []
        # The model loads while passages are searched for; the answerer waits only where it needs it.
        model = self._models.request(settings.model)
        answerer = Answerer(self._library, model, settings)
        stop = cancel or threading.Event()
        if collection is None:
            collection = self._conversations.collection(conversation) if conversation else settings.assistant.collection
        for event in answerer.stream(words, collection, history, stop):
            if isinstance(event, AnswerReady) and conversation and keep:
                event = self._kept(conversation, question, event.answer)
            yield event

    def _kept(self, conversation: str, question: str, answer: Answer) -> AnswerReady:
        """Add the turn to its conversation; an answer is given even where it cannot be kept."""
        answer = dataclasses.replace(answer, conversation=conversation)
        if answer.finish_reason == "cancelled":
            return AnswerReady(answer)
        try:
            self._conversations.append(conversation, question, answer)
        except AssistantError as error:
            answer = dataclasses.replace(answer, degraded=(*answer.degraded, str(error)))
        return AnswerReady(answer)

    def converse(
        self,
        audio: Audio,
        sink: AudioSink | None = None,
        *,
        audio_format: AudioFormat | None = None,
        collection: str | None = None,
        conversation: str | None = None,
        synthesizer: Synthesizer | None = None,
        listening: Transcriber | SharedTranscription | None = None,
        live: bool = True,
        paced: bool = False,
    ) -> SpokenConversation:
        """Hold a spoken conversation: ``async for event in assistant.converse(audio): ...``.

        ``audio`` is a source, or blocks under asyncio that are laid out as ``audio_format`` says. Answers are spoken
        to ``sink``, by the settings' synthesizer unless one is given; without a sink they are text alone. With
        ``live`` the audio comes in real time (``paced``: it is held back until then); without, as quickly as it is
        understood and answered. A speech model of your own is given as ``listening``; if it is shared, the audio is
        live. Speech during an answer pauses it, words end it, and the conversation keeps what was heard. The settings
        are those of this moment.

        Raises:
            SpeechModelNotFound: the speech model is not on this machine.
            VoiceUnavailable: there is nothing to speak with.
        """
        from ..voice.speaking import Speaker
        from ..voice.synthesis import open_synthesizer
        from ..voice.values import AudioFormat
        from .converse import SpokenConversation

        settings = self.settings.voice
        if listening is None:
            listening = self._speech.shared(settings) if live else self._speech.transcriber(settings)
        voice = synthesizer or (open_synthesizer(settings) if sink is not None else None)
        speaker = (
            Speaker(voice, sink, settings.speech_ahead_seconds) if voice is not None and sink is not None else None
        )
        return SpokenConversation(
            self,
            audio,
            audio_format or getattr(audio, "audio_format", AudioFormat()),
            listening,
            speaker,
            collection=collection,
            conversation=conversation,
            paced=paced,
        )

    def start_conversation(self, collection: str | None = None) -> str:
        """Begin a conversation and return its id, for `ask` and `stream`."""
        return self._conversations.start(collection or self.settings.assistant.collection)

    def documents(self, collection: str | None = None) -> list[Document]:
        """The documents of one collection, or of all."""
        return self._library.documents(collection)

    def document(self, reference: str, *, whole: bool = False) -> Document:
        """The document whose id, source, file name or title is ``reference``, or, unless ``whole``, begins so.

        Raises:
            DocumentNotFound: none fits, or several do; the message names them.
        """
        return self._library.document(reference, whole=whole)

    def remove(self, reference: str) -> Document:
        """Forget the document with this id, source, file name or title; what stands elsewhere too stays findable.

        Raises:
            DocumentNotFound: none is called so, or several are; the message names them.
        """
        document = self.document(reference, whole=True)
        self._library.remove(document.id)
        return document

    def status(self) -> LibraryStatus:
        """Counts, sizes, and what was healed at the start."""
        return self._library.status()

    async def ingest_async(
        self, paths: Sequence[Path | str] | Path | str, collection: str | None = None, **options: Any
    ) -> IngestReport:
        """`ingest` under asyncio."""
        return await run_cancellable(self.ingest, paths, collection, **options)

    async def search_async(self, query: str, collection: str | None = None, top_k: int | None = None) -> SearchResult:
        """`search` under asyncio."""
        return await asyncio.to_thread(self.search, query, collection, top_k)

    async def ask_async(self, question: str, collection: str | None = None, **options: Any) -> Answer:
        """`ask` under asyncio."""
        return await run_cancellable(self.ask, question, collection, **options)

    def stream_async(self, question: str, collection: str | None = None, **options: Any) -> AsyncIterator[AnswerEvent]:
        """`stream` under asyncio; leaving the loop early stops the work."""
        return iterate_cancellable(self.stream, question, collection, **options)


def _words_of(question: str) -> str:
    words = " ".join(question.split())
    if not words:
        raise EmptyQuestion("the question is empty: ask something")
    return words
