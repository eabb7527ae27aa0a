"""A data folder, opened: documents in, passages out. The room's front door."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..config.schema import RagSettings
from .errors import DocumentNotFound, EmbeddingModelChanged, StoreError
from .indexes import Indexes
from .ingest import IngestRun
from .lock import FolderLock
from .parts import OpenModels, SearchParts, embedding_of, models_of
from .progress import IngestProgress
from .protocols import Embedder
from .retriever import Retriever
from .store import Store
from .values import Chunk, Document, IngestReport, SearchResult
from .versions import Versions


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """What a data folder holds. ``bytes`` are sizes on disk per part; ``pending`` counts index changes to apply."""

    documents: int
    chunks: int
    aliases: int
    collections: tuple[str, ...]
    bytes: dict[str, int]
    embedding_fingerprint: str | None
    pending: int
    outdated: int
    schema_version: int
    healed: tuple[str, ...]


class Library:
    """Owner of one data folder. Thread-safe: any number of searches beside one ingest run."""

    def __init__(self, folder: Path, settings: RagSettings) -> None:
        """Use `Library.open`."""
        self.folder = folder
        self._settings = settings
        self._write_lock = threading.RLock()
        self._models = OpenModels()
        self._own_embedder: Embedder | None = None
        self._kept: SearchParts | None = None
        """The models of the settings that the library was opened with stay open."""
        with ExitStack() as opened:
            opened.callback(FolderLock(folder).release)
            self._store = Store.open(folder)
            opened.callback(self._store.close)
            self._versions = Versions(self._store.database)
            self._versions.discard_staging()
            self._indexes = Indexes(folder, self._store, settings)
            opened.callback(self._indexes.close)
            self._opened = opened.pop_all()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        settings: RagSettings,
        *,
        reindex: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> Self:
        """Open or make the data folder. The indexes are opened, checked and healed when first needed.

        Args:
            reindex: cut and embed everything again with the model of ``settings``; an interrupted run is taken up.

        Raises:
            DataFolderLocked: another process has it.
            NewerSchema: a newer version made it.
            StoreError: it cannot be read or written.
        """
        folder = data_dir.expanduser().absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder} cannot be made ({error.strerror}): use another data folder") from error
        library = cls(folder, settings)
        try:
            if reindex:
                library.reindex(progress=progress)
        except BaseException:
            library.close()
            raise
        return library

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        with self._write_lock:
            self._opened.close()

    @property
    def store(self) -> Store:
        return self._store

    @property
    def embedder(self) -> Embedder:
        return self.parts().embedder

    def parts(self, settings: RagSettings | None = None) -> SearchParts:
        """The models that searches with ``settings`` run; a model that two settings name is opened once.

        Those of the library's own settings stay open, others as long as somebody holds what is returned.

        Raises:
            ModelNotFound: a model's folder is missing or incomplete.
        """
        if settings is not None and models_of(settings) != models_of(self._settings):
            return self._models.parts(settings)
        if self._kept is None:
            self._kept = self._models.parts(self._settings)
        return self._kept

    def _embedder_of(self, settings: RagSettings) -> Embedder:
        embedder = self._models.embedder(settings)
        if embedding_of(settings) == embedding_of(self._settings):
            self._own_embedder = embedder  # searches will want it too
        return embedder

    def warm_up(self, parts: SearchParts | None = None) -> None:
        """Load what the first search needs, with the models of the library's own settings or with ``parts``."""
        self._indexes.open()
        (parts or self.parts()).warm_up()

    def ingest(
        self,
        paths: Sequence[Path],
        collection: str = "default",
        settings: RagSettings | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
        cancel: threading.Event | None = None,
        *,
        prune: bool = False,
    ) -> IngestReport:
        """Add new files, update changed ones, leave the rest; a file that fails is reported and the rest goes on.

        Args:
            prune: also remove documents whose files have vanished from the folders among ``paths``.

        Raises:
            EmbeddingModelChanged: the stored vectors come from another model.
            DiskFull: no space left; what was acknowledged is stored.
        """
        with self._write_lock:
            run = self._run(settings or self._settings, collection, progress, cancel)
            return run.files([Path(path) for path in paths], prune)

    def reindex(
        self,
        settings: RagSettings | None = None,
        progress: Callable[[IngestProgress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> IngestReport:
        """Cut and embed all stored documents again, from their stored text; an interrupted run is taken up."""
        settings = settings or self._settings
        with self._write_lock:
            fingerprint = self._embedder_of(settings).fingerprint
            if self._store.fingerprint != fingerprint or not self._store.outdated():
                self._versions.begin_generation(fingerprint)
                self._indexes.rebuild()
            reports = []
            for collection in self._store.collections():
                documents = [d for d in self._store.outdated() if d.collection == collection]
                reports.append(self._run(settings, collection, progress, cancel, again=True).again(documents))
            files = tuple(outcome for report in reports for outcome in report.files)
            cancelled = any(report.cancelled for report in reports)
            return IngestReport(files, sum(report.seconds for report in reports), cancelled)

    def _run(
        self,
        settings: RagSettings,
        collection: str,
        progress: Callable[[IngestProgress], None] | None,
        cancel: threading.Event | None,
        again: bool = False,
    ) -> IngestRun:
        embedder = self._embedder_of(settings)
        if self._store.fingerprint is None:
            self._store.set_meta("embedding_fingerprint", embedder.fingerprint)
        self._require_same_model(embedder, finished=not again)
        return IngestRun(self._store, self._indexes, embedder, settings, collection, progress, cancel)

    def search(
        self,
        query: str,
        collection: str = "default",
        settings: RagSettings | None = None,
        top_k: int | None = None,
        parts: SearchParts | None = None,
    ) -> SearchResult:
        """The best passages of a collection for ``query``; ``parts`` are those of ``settings``, if they are at hand.

        Raises:
            EmbeddingModelChanged: the stored vectors come from another model than the one in the settings.
        """
        settings = settings or self._settings
        return self.retriever(settings, parts).search(query, collection, settings, top_k)

    def retriever(self, settings: RagSettings | None = None, parts: SearchParts | None = None) -> Retriever:
        """The retriever over this folder, for one snapshot of settings."""
        parts = parts or self.parts(settings)
        self._require_same_model(parts.embedder)
        dense, sparse = self._indexes.dense, self._indexes.sparse
        return Retriever(self._store, dense, sparse, parts.embedder, parts.reranker, settings or self._settings)

    def documents(self, collection: str | None = None) -> list[Document]:
        return self._store.documents(collection)

    def document(self, name: str, *, whole: bool = False) -> Document:
        """The document with this id, source, file name or title; else, unless ``whole``, the one for which ``name`` is
        the beginning of one of them.

        Raises:
            DocumentNotFound: there is none, or the name fits several.
        """
        documents = self._store.documents()
        path = Path(name).expanduser()
        paths = {str(path.absolute()), str(path.resolve())}
        fits = (
            lambda d: name in (d.id, d.source) or d.source in paths,
            lambda d: name in (Path(d.source).name, d.title),
            lambda d: d.id.startswith(name) or d.source.startswith(name) or Path(d.source).name.startswith(name),
            lambda d: d.title.casefold().startswith(name.casefold()),
        )
        for fit in fits[: 2 if whole else None] if name else ():
            found = [document for document in documents if fit(document)]
            if len(found) == 1:
                return found[0]
            if found:
                named = ", ".join(f"{d.id} ({d.source})" for d in found[:5])
                raise DocumentNotFound(f"{name!r} fits {len(found)} documents: {named}; give more of it, or an id")
        raise DocumentNotFound(f"no document is called {name!r}: `capibara documents list` shows all")

    def chunks(self, document_id: str) -> list[Chunk]:
        """All chunks of a document, in order."""
        return self._store.chunks(document_id)

    def text(self, document_id: str, start: int, end: int) -> str:
        """``document_text[start:end]`` of a stored document; empty for an unknown one."""
        return self._store.text(document_id, start, end)

    def remove(self, document_id: str) -> None:
        """Forget a document. Passages that stand in other documents too live on there.

        Raises:
            DocumentNotFound: there is no document with that id.
        """
        with self._write_lock:
            if not self._versions.remove(document_id):
                raise DocumentNotFound(f"no document has the id {document_id!r}: `capibara documents list` shows all")
            self._indexes.apply()

    def collections(self) -> list[str]:
        return self._store.collections()

    def status(self) -> LibraryStatus:
        """Counts and sizes; opens and heals the indexes if that has not happened yet."""
        self._indexes.open()
        counts = self._store.counts()
        sizes = {"store": self._store.database.path.stat().st_size, **self._indexes.sizes()}
        return LibraryStatus(
            documents=counts["documents"],
            chunks=counts["chunks"],
            aliases=counts["aliases"],
            collections=tuple(self._store.collections()),
            bytes=sizes,
            embedding_fingerprint=self._store.fingerprint,
            pending=counts["pending"],
            outdated=len(self._store.outdated()),
            schema_version=self._store.database.schema_version,
            healed=self._indexes.healed,
        )

    def _require_same_model(self, embedder: Embedder, finished: bool = True) -> None:
        stored = self._store.fingerprint
        if stored is not None and stored != embedder.fingerprint:
            raise EmbeddingModelChanged(
                f"{self.folder} holds vectors of {stored}, the settings name {embedder.fingerprint}: run "
                "`capibara ingest --reindex` to embed everything again, or set rag.embedding_model back"
            )
        if finished and self._store.outdated():
            raise EmbeddingModelChanged(
                f"re-indexing {self.folder} with {stored} was not finished: run `capibara ingest --reindex` to go on"
            )
