"""An ingest run: files are hashed, read, cut, embedded in batches across their borders, and stored one by one.

While one batch is embedded, the batch before it is stored and the next one cut: at most three are in memory.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ..config.schema import RagSettings
from .discovery import Discovery, discover
from .drafts import Draft
from .errors import DocumentError
from .indexes import Indexes
from .loaders.registry import loader_for
from .progress import IngestProgress
from .protocols import Embedder
from .reading import read_through, reading, shown
from .rows import document_id
from .store import Store
from .values import Block, Document, FileOutcome, IngestReport
from .versions import Versions
from .writing import Batch, BatchWriter

BATCH_CHUNKS = 128
_HASH_BLOCK = 1 << 20


class IngestRun:
    """One run over one collection. Use once. The caller sees to it that no other run writes at the same time."""

    def __init__(
        self,
        store: Store,
        indexes: Indexes,
        embedder: Embedder,
        settings: RagSettings,
        collection: str = "default",
        progress: Callable[[IngestProgress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._versions = Versions(store.database)
        self._embedder = embedder
        self._settings = settings
        self._collection = collection
        self._progress = progress
        self._cancel = cancel or threading.Event()
        self._writer = BatchWriter(
            store, indexes, embedder, collection, settings.dedup_threshold if settings.dedup else None
        )
        self._began = time.perf_counter()
        self._outcomes: list[FileOutcome] = []
        self._pending: list[Draft] = []  # drafts with something that is in no batch yet
        self._waiting = 0  # chunks of pending drafts
        self._ahead: Batch | None = None  # what is being embedded
        self._files_total = self._files_done = 0
        self._bytes_total = self._bytes_done = 0
        self._chunks = self._embedded = 0

    def files(self, paths: Sequence[Path], prune: bool = False) -> IngestReport:
        """Bring the files of ``paths`` into the store; ``prune`` removes documents whose files have vanished from
        the folders among them.

        Raises:
            DiskFull: no space left; documents acknowledged so far are stored, the one at hand is not.
        """
        found = discover(paths, follow_symlinks=self._settings.follow_symlinks)
        self._outcomes += [FileOutcome(shown(path), "skipped", reason) for path, reason in found.skipped]
        self._outcomes += [FileOutcome(shown(path), "failed", reason) for path, reason in found.failed]
        self._files_total, self._bytes_total = len(found.files), sum(map(_size, found.files))
        with _Unfinished(self._versions, self._writer):
            for path in found.files:
                if self._cancel.is_set():
                    break
                self._file(path)
            self._flush()
            if prune and not self._cancel.is_set():
                self._prune(found)
        return self._report()

    def again(self, documents: Sequence[Document]) -> IngestReport:
        """Cut and embed stored documents again, from their stored text; what an interrupted run did is kept."""
        self._files_total, self._bytes_total = len(documents), sum(d.characters for d in documents)
        with _Unfinished(self._versions, self._writer):
            for document in documents:
                if self._cancel.is_set():
                    break
                if not self._copied(document, document.characters, True):
                    draft = Draft(replace(document, chunks=0, characters=0), document.characters, True)
                    self._read(draft, self._store.blocks(document.id))
                    self._finish(draft, document.pages, document.warnings)
            self._flush()
        return self._report()

    def _report(self) -> IngestReport:
        return IngestReport(tuple(self._outcomes), time.perf_counter() - self._began, self._cancel.is_set())

    # one file

    def _file(self, path: Path) -> None:
        """Bring one file into the store. Only what goes wrong in reading it is its own failure: an error of the
        store or of an index concerns the documents of the whole batch, and ends the run.
        """
        source = str(path)
        size = _size(path)
        draft = None
        try:
            limit = self._settings.max_file_mb
            if size > limit << 20:
                raise DocumentError(f"larger than {limit} MiB: raise rag.max_file_mb to read it")
            with reading(path):
                content_hash = _sha256(path)
            known = self._store.document(document_id(self._collection, source))
            if known and known.content_hash == content_hash and self._store.is_current(known.id):
                self._done(FileOutcome(source, "unchanged", document_id=known.id, chunks=known.chunks), size)
                return
            document = self._new_document(path, content_hash)
            if self._copied(document, size, known is not None):
                return
            with reading(path):
                loaded = loader_for(path, self._settings).load(path)
                blocks = loaded.blocks()
            draft = Draft(replace(document, title=loaded.title or document.title), size, known is not None)
            self._read(draft, read_through(path, blocks))
            self._finish(draft, loaded.pages, tuple(loaded.warnings))
        except DocumentError as error:
            self._drop(draft)
            self._done(FileOutcome(source, "failed", str(error)), size)

    def _new_document(self, path: Path, content_hash: str) -> Document:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        identity = document_id(self._collection, str(path))
        return Document(identity, self._collection, str(path), path.stem, content_hash, ingested_at=now)

    def _copied(self, document: Document, size: int, updates: bool) -> bool:
        """Whether the same bytes are stored already, in which case the document becomes another place of them."""
        if not self._settings.dedup:
            return False
        if any(draft.document.content_hash == document.content_hash for draft in self._under_way()):
            self._flush()
        twin = self._store.twin(self._collection, document.content_hash)
        if twin is None:
            return False
        title = document.title if twin.title == Path(twin.source).stem else twin.title
        made = self._versions.copy(twin.id, replace(document, title=title), self._store.generation)
        self._indexes.apply()
        status = "updated" if updates else "added"
        self._chunks += made.chunks
        outcome = FileOutcome(
            made.source, status, document_id=made.id, chunks=made.chunks, duplicates=made.chunks, warnings=made.warnings
        )
        self._done(outcome, size)
        return True

    def _read(self, draft: Draft, blocks: Iterable[Block]) -> None:
        self._pending.append(draft)
        settings = self._settings
        for chunk in draft.read(blocks, self._embedder, settings.chunk_tokens, settings.chunk_overlap_sentences):
            if self._cancel.is_set():
                return
            draft.chunks.append(chunk)
            self._waiting += 1
            if self._waiting >= BATCH_CHUNKS:
                self._advance()

    def _finish(self, draft: Draft, pages: int | None, warnings: tuple[str, ...]) -> None:
        if self._cancel.is_set():
            self._drop(draft)
        elif not draft.taken and not draft.chunks:
            raise DocumentError("it holds no text")
        else:
            draft.document = replace(draft.document, pages=pages, warnings=warnings)
            draft.finished = True

    def _drop(self, draft: Draft | None) -> None:
        """Forget a draft that will not be finished, with what is staged of it."""
        if draft is None:
            return
        draft.dropped = True
        self._pending = [pending for pending in self._pending if pending is not draft]
        self._waiting = sum(len(pending.chunks) for pending in self._pending)
        if draft.version is not None:
            self._versions.discard(draft.version)

    def _flush(self) -> None:
        """Write what is pending, unless the run is cancelled; a draft that is still being read stays pending."""
        self._advance()
        self._advance()

    def _advance(self) -> None:
        """Begin to embed what is pending, and meanwhile write what was being embedded."""
        if self._cancel.is_set():
            return
        written, self._ahead = self._ahead, self._writer.begin(self._pending) if self._pending else None
        self._waiting = 0
        self._pending = [draft for draft in self._pending if not draft.finished]
        if written is not None:
            self._write(written)

    def _write(self, batch: Batch) -> None:
        before = sum(portion.draft.embedded for portion in batch.portions)
        self._writer.write(batch)
        self._chunks += len(batch.keys)
        self._embedded += sum(portion.draft.embedded for portion in batch.portions) - before
        for portion in batch.portions:
            if portion.last:
                self._done(_outcome(portion.draft), portion.draft.bytes)
        if under_way := self._under_way():
            self._tell(under_way[0].document.source)

    def _under_way(self) -> list[Draft]:
        """The drafts that are not yet stored as a whole, oldest first."""
        ahead = [portion.draft for portion in self._ahead.portions] if self._ahead else []
        return list({id(draft): draft for draft in (*ahead, *self._pending)}.values())

    def _prune(self, found: Discovery) -> None:
        kept = {str(path) for path in found.files}
        for document in self._store.documents(self._collection):
            source = Path(document.source)
            below = any(source.is_relative_to(folder) for folder in found.folders)
            if below and document.source not in kept and _is_gone(source):
                self._versions.remove(document.id)
                self._outcomes.append(FileOutcome(document.source, "removed", "the file is gone", document.id))
        self._indexes.apply()

    # telling

    def _done(self, outcome: FileOutcome, size: int) -> None:
        self._outcomes.append(outcome)
        self._files_done += 1
        self._bytes_done += size
        self._tell(outcome.source, outcome)

    def _tell(self, source: str, outcome: FileOutcome | None = None) -> None:
        if self._progress is None:
            return
        reading = sum(min(draft.bytes, draft.document.characters) for draft in self._under_way())
        self._progress(
            IngestProgress(
                self._files_done, self._files_total, self._bytes_done + reading, self._bytes_total, self._chunks,
                self._embedded, time.perf_counter() - self._began, source, outcome,
            )
        )  # fmt: skip


class _Unfinished:
    """Ends, on the way out, what is still being embedded, and discards what is staged and not published."""

    def __init__(self, versions: Versions, writer: BatchWriter) -> None:
        self._versions = versions
        self._writer = writer

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self._writer.close()
        self._versions.discard_staging()


def _outcome(draft: Draft) -> FileOutcome:
    document = draft.document
    return FileOutcome(
        document.source, "updated" if draft.updates else "added", "", document.id, document.chunks, draft.embedded,
        draft.duplicates, document.warnings,
    )  # fmt: skip


def _is_gone(path: Path) -> bool:
    """Whether nothing is there; what cannot be looked at may well be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
