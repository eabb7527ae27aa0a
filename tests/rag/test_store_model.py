"""Any sequence of additions, updates, copies, deletions and restarts leaves what a plain dict would hold."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from capibara.rag.dedup import Deduplicator, Fresh
from capibara.rag.outbox import Outbox
from capibara.rag.rows import Piece, StagedChunk, document_id, embedding_hash
from capibara.rag.store import Store
from capibara.rag.values import Block, Chunk, Document
from capibara.rag.versions import Versions

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
COLLECTIONS = st.sampled_from(["default", "other"])
SOURCES = st.sampled_from(["/a", "/b", "/c"])
TEXTS = st.lists(st.sampled_from([" ".join([word] * 9) for word in WORDS]), min_size=1, max_size=5)


class StoreMachine(RuleBasedStateMachine):
    """The model: (collection, source) → the texts of its chunks. The index: ids that outbox changes were applied to."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[tuple[str, str], list[str]] = {}
        self.index: dict[str, str] = {}
        self.open()

    def open(self) -> None:
        self.store = Store.open(Path(self.folder.name))
        self.versions = Versions(self.store.database)
        self.versions.discard_staging()
        self.outbox = Outbox(self.store.database)

    @rule(collection=COLLECTIONS, source=SOURCES, texts=TEXTS)
    def put(self, collection: str, source: str, texts: list[str]) -> None:
        document = self.document(collection, source, "|".join(texts))
        twin = self.store.twin(collection, document.content_hash)
        if twin and twin.source != source:
            self.versions.copy(twin.id, document, self.store.generation)
        else:
            self.versions.publish(self.stage(document, texts), replace(document, chunks=len(texts)))
        self.model[collection, source] = texts

    @rule(collection=COLLECTIONS, source=SOURCES, texts=TEXTS)
    def begin_and_crash(self, collection: str, source: str, texts: list[str]) -> None:
        self.stage(self.document(collection, source, "|".join(texts)), texts)
        self.restart()

    @rule(collection=COLLECTIONS, source=SOURCES, texts=TEXTS)
    def begin_and_fail(self, collection: str, source: str, texts: list[str]) -> None:
        self.versions.discard(self.stage(self.document(collection, source, "|".join(texts)), texts))

    @rule(collection=COLLECTIONS, source=SOURCES)
    def remove(self, collection: str, source: str) -> None:
        was_there = self.model.pop((collection, source), None) is not None
        assert self.versions.remove(document_id(collection, source)) == was_there

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def apply_outbox(self) -> None:
        changes = self.outbox.pending(1000)
        entries = {entry.id: entry for entry in self.store.entries([change.chunk_id for change in changes])}
        for change in changes:
            self.index.pop(change.chunk_id, None)
            if change.chunk_id in entries:
                self.index[change.chunk_id] = " ".join(entries[change.chunk_id].terms)
        self.outbox.acknowledge(changes)

    @invariant()
    def documents_are_those_of_the_model(self) -> None:
        found = {(d.collection, d.source): [c.text for c in self.store.chunks(d.id)] for d in self.store.documents()}
        assert found == self.model
        for (collection, source), texts in self.model.items():
            assert self.store.text(document_id(collection, source), 0, 10_000) == "".join(texts)

    @invariant()
    def every_text_is_kept_once_per_collection_and_all_its_places_are_listed(self) -> None:
        for collection in ("default", "other"):
            places: dict[str, list[str]] = {}
            for (where, source), texts in self.model.items():
                for text in texts if where == collection else ():
                    places.setdefault(text, []).append(source)
            found = {}
            for chunk, document, aliases in self.store.passages(sorted(self.store.indexed_ids(collection))).values():
                assert chunk.text not in found
                found[chunk.text] = sorted([document.source, *(alias.source for alias in aliases)])
            assert found == {text: sorted(sources) for text, sources in places.items()}

    @invariant()
    def applied_changes_and_the_outbox_together_make_the_truth(self) -> None:
        pending = {change.chunk_id for change in self.outbox.pending(1000)}
        for collection in ("default", "other"):
            for entries in self.store.all_entries(collection):
                for entry in entries:
                    assert entry.id in pending or self.index.get(entry.id) == " ".join(entry.terms)
        truth = self.store.indexed_ids("default") | self.store.indexed_ids("other")
        assert set(self.index) - pending <= truth

    @invariant()
    def nothing_is_orphaned(self) -> None:
        rows = self.store.database.rows
        assert rows("PRAGMA foreign_key_check") == []
        assert rows("SELECT 1 FROM embeddings WHERE number NOT IN (SELECT embedding FROM chunks)") == []
        assert rows("SELECT 1 FROM chunks a JOIN chunks b ON a.owner = b.number WHERE b.owner IS NOT NULL") == []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def document(self, collection: str, source: str, content: str) -> Document:
        identity = document_id(collection, source)
        return Document(identity, collection, source, source, content, ingested_at="2026-01-01T00:00:00+00:00")

    def stage(self, document: Document, texts: list[str]) -> int:
        number = self.versions.begin(document, self.store.generation)
        chunks, start = [], 0
        for ordinal, text in enumerate(texts):
            identity = f"{document.id}-{text[:5]}-{texts[:ordinal].count(text)}"
            chunks.append(Chunk(identity, document.id, ordinal, text, start, start + len(text)))
            start += len(text)
        deduplicator = Deduplicator(self.store, NoIndex(), document.collection, 0.99)
        first = self.versions.last_chunk_number() + 1
        fresh = [Fresh(first + i, chunk, vector(chunk.text), number) for i, chunk in enumerate(chunks)]
        owners = deduplicator.owners(fresh)
        staged = [
            StagedChunk(
                item.number, item.chunk, item.chunk.text, embedding_hash("m", item.chunk.text), item.vector, owner
            )
            for item, owner in zip(fresh, owners, strict=True)
        ]
        self.versions.stage(number, staged, [Piece(0, tuple(Block(text) for text in texts))])
        return number


class NoIndex:
    """A dense index of nothing: collections this small are compared without one."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the dense index was asked for {name}")


def vector(text: str) -> np.ndarray:
    return np.eye(len(WORDS), dtype=np.float32)[WORDS.index(text.split()[0])]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
