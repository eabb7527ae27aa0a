"""The facade: documents in, answers with checked citations out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.live import LiveSettings
from ..config.load import LoadedSettings, Sources
from ..config.locate import open_settings, read_located
from ..config.variants import DEFAULT
from .asynchronous import AsyncTwins
from .configured import Configured
from .limits import words_of
from .listening import SpeechModels, Voices
from .loading import LanguageModels
from .log_level import LogLevel
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


class Assistant(AsyncTwins, Configured):
    """Answers from the documents of one data folder. Thread-safe; use it as a context manager.

    >>> with Assistant.open() as assistant:
    ...     assistant.ingest(["~/papers"])
    ...     print(assistant.ask("Who wrote the first one?").text)

    Each method that works long has a twin ending in ``_async`` for use under asyncio; cancelling the task
    stops the work.
    """

    def __init__(
        self, loaded: LoadedSettings, read: Callable[[], Sources], data_dir: Path, *, reindex: bool = False
    ) -> None:
        """Use `open`."""
        from ..rag.library import Library
        from .answer_service import AnswerService
        from .conversations import ConversationStore
        from .retrieval import SearchModels
        from .spoken_conversations import SpokenConversations

        self.data_dir = data_dir
        with contextlib.ExitStack() as opened:
            self._library = Library.open(data_dir, loaded.settings.rag, reindex=reindex)
            opened.callback(self._library.close)
            self._conversations = ConversationStore(data_dir / "conversations.sqlite3")
            opened.callback(self._conversations.close)
            language = LanguageModels()
            opened.callback(language.close)
            subscribers = (LogLevel(), SearchModels(self._library), language, SpeechModels(), Voices())
            super().__init__(LiveSettings(loaded, read, subscribers))
            opened.callback(self._live.close)
            self._answers = AnswerService(self._library, self._conversations, self._live, self._experiment)
            self._spoken = SpokenConversations(self, self._live.latest)
            opened.callback(self._spoken.close)
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

        ``overrides`` win over the environment and the file. With ``watch`` a changed file takes effect a moment after
        it is saved, in whole or not at all. ``reindex`` embeds everything again, which a changed embedding model
        needs. Light: models are loaded when first needed, or by `warm_up`.

        Raises:
            ConfigError: unknown settings or bad values, each with its place.
            StoreError: the folder is in use by another process, was made by a newer version, or holds
                vectors of another embedding model.
        """
        loaded, data_dir = open_settings(path, overrides=overrides)
        assistant = cls(loaded, lambda: read_located(path, overrides=overrides), data_dir, reindex=reindex)
        try:
            if watch:
                assistant._live.watch()
        except BaseException:
            assistant.close()
            raise
        return assistant

    def __enter__(self) -> Assistant:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the data folder; the object cannot be used afterwards.

        Requests under way are not waited for: one that has its passages may end well, but is not kept; any other
        ends with an error, and so does a spoken conversation.
        """
        self._opened.close()

    @property
    def library(self) -> Library:
        """The documents and their indexes, for uses that the facade does not cover."""
        return self._library

    @property
    def conversations(self) -> ConversationStore:
        """What was asked and answered before."""
        return self._conversations

    def warm_up(self, *, speech: bool = False) -> None:
        """Load what the first question needs now: the indexes, the embedding model, and what reads.

        A language model that only later questions need goes on loading behind. With ``speech``, the speech model too.

        Raises:
            VoiceError: the speech model is not there, or cannot be loaded.
        """
        from .extraction import answers_alone

        with self._live.pin(variant=DEFAULT) as seen:
            if speech:
                seen.parts["speech"].transcriber().warm_up()
            loading, parts = seen.parts["language"].request(), seen.parts["search"].open()
            self._library.warm_up(parts)
            if not answers_alone(seen.settings, parts):
                loading.result()

    def language_model(self) -> LanguageModel | None:
        """The language model that the settings name, loaded; None where there is none (`Answer.degraded` says why)."""
        return self._live.snapshot.parts["language"].request().result().model

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
        listed = [paths] if isinstance(paths, str | Path) else paths
        with self._live.pin(variant=DEFAULT) as seen:
            return self._library.ingest(
                [Path(path).expanduser() for path in listed],
                collection or seen.settings.assistant.collection,
                seen.settings.rag,
                prune=prune,
                progress=progress,
                cancel=cancel,
            )

    def search(
        self, query: str, collection: str | None = None, top_k: int | None = None, *, variant: str | None = None
    ) -> SearchResult:
        """The passages that fit ``query`` best, with the scores of every stage; ``variant`` as in `stream`, if any.

        Raises:
            EmptyQuestion: ``query`` is blank.
            QuestionTooLong: it is longer than ``limits.question_characters``.
            UnknownVariant: there is no such variant.
        """
        with self._live.pin(variant=variant or DEFAULT) as seen:
            settings = seen.settings
            words, name = words_of(query, settings.limits), collection or settings.assistant.collection
            return self._library.search(words, name, settings.rag, top_k, seen.parts["search"].open())

    def ask(
        self,
        question: str,
        collection: str | None = None,
        *,
        conversation: str | None = None,
        variant: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Answer:
        """Answer ``question``; see `stream` for the arguments and errors."""
        *_, last = self.stream(question, collection, conversation=conversation, variant=variant, cancel=cancel)
        assert isinstance(last, AnswerReady)
        return last.answer

    def stream(
        self,
        question: str,
        collection: str | None = None,
        *,
        conversation: str | None = None,
        keep: bool = True,
        variant: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[AnswerEvent]:
        """Answer ``question`` as it comes: `Retrieved`, `TextDelta` pieces, and last `AnswerReady`.

        ``conversation`` is an id of `start_conversation`: its collection is searched unless another is named,
        earlier turns are taken into account, and this one is kept, unless ``keep`` is False. ``variant`` chooses one of
        the settings' variants. Setting ``cancel`` or closing the iterator stops the work. The settings are those of
        the moment it begins, to its end; requests beyond ``limits.concurrent_requests`` wait before that.

        The time of ``limits.request_seconds`` runs from the first `next` on, waiting included. One that is cancelled
        or out of time while it waits gives an empty, cancelled answer at once, and nothing before it. A place is kept
        until the iterator has ended or is closed, however slowly it is read; close one that is not read to its end
        (`contextlib.closing`). A question asked between two events of a stream needs a second place.

        Raises:
            EmptyQuestion: ``question`` is blank.
            QuestionTooLong: it is longer than ``limits.question_characters``.
            UnknownConversation: there is no such conversation.
            UnknownVariant: there is no such variant.
        """
        return self._answers.stream(
            question, collection, conversation=conversation, keep=keep, variant=variant, cancel=cancel
        )

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
        live. Speech during an answer pauses it, words end it, and the conversation keeps what was heard. Changed
        settings are heard by from the next utterance on, and spoken by from the next answer on.

        Raises:
            SpeechModelNotFound: the speech model is not on this machine.
            VoiceUnavailable: there is nothing to speak with.
        """
        return self._spoken.begin(
            audio,
            sink,
            audio_format,
            collection,
            conversation or self.start_conversation(collection),
            synthesizer,
            listening,
            live=live,
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
