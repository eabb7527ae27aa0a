"""The dense index: nearest neighbours by cosine similarity in Chroma, kept on disk, rebuildable from the store."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .errors import IndexDamaged

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.api.models.Collection import Collection

_BATCH = 250
_NAME = "capibara_name"
_HNSW: CreateHNSWConfiguration = {"space": "cosine", "ef_construction": 200, "max_neighbors": 32, "ef_search": 400}


class ChromaIndex:
    """A `DenseIndex` in one Chroma folder that this process alone uses. Thread-safe.

    Raises:
        IndexDamaged: from any method, when Chroma cannot open or read the folder; close it, delete the folder,
            open it anew and fill it from the store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._open: dict[str, Collection] = {}
        self._client: Client | None = None
        with self._damage_named():
            path.mkdir(parents=True, exist_ok=True)
            self._client = _opened(path)
            self._client.heartbeat()

    def upsert(self, collection: str, ids: Sequence[str], vectors: Float[np.ndarray, "N D"]) -> None:
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
        with self._damage_named():
            target = self._collection(collection, create=True)
            assert target is not None
            for begin in range(0, len(ids), _BATCH):
                end = begin + _BATCH
                target.upsert(ids=list(ids[begin:end]), embeddings=np.asarray(vectors[begin:end], dtype=np.float32))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._damage_named():
            target = self._collection(collection)
            for begin in range(0, len(ids) if target else 0, _BATCH):
                assert target is not None
                target.delete(ids=list(ids[begin : begin + _BATCH]))

    def query(self, collection: str, vector: Float[np.ndarray, " D"], k: int) -> list[tuple[str, float]]:
        with self._damage_named():
            target = self._collection(collection)
            size = target.count() if target else 0
            if target is None or size == 0 or k < 1:
                return []
            found = target.query(
                query_embeddings=np.asarray(vector, dtype=np.float32)[None, :],
                n_results=min(k, size),
                include=["distances"],
            )
            distances = found["distances"]
            assert distances is not None
            pairs = zip(found["ids"][0], distances[0], strict=True)
            return sorted(((i, 1.0 - float(d)) for i, d in pairs), key=lambda pair: (-pair[1], pair[0]))

    def ids(self, collection: str) -> set[str]:
        with self._damage_named():
            target = self._collection(collection)
            return set(target.get(include=[])["ids"]) if target else set()

    def collections(self) -> set[str]:
        with self._damage_named():
            return {str((found.metadata or {}).get(_NAME, found.name)) for found in self._chroma().list_collections()}

    def drop(self, collection: str) -> None:
        with self._damage_named():
            if self._collection(collection) is not None:
                self._chroma().delete_collection(_legal_name(collection))
                self._open.pop(collection, None)

    def close(self) -> None:
        """Let go of the folder, so that it can be deleted and opened anew in this process."""
        with self._lock:
            self._open.clear()
            if self._client is not None:
                self._client.close()
                self._client = None

    def _chroma(self) -> Client:
        if self._client is None:
            raise ValueError(f"the dense index {self._path} is closed")
        return self._client

    def _collection(self, name: str, create: bool = False) -> Collection | None:
        from chromadb.errors import NotFoundError

        if name in self._open:
            return self._open[name]
        client = self._chroma()
        try:
            found = client.get_collection(_legal_name(name), embedding_function=None)
        except NotFoundError:
            if not create:
                return None
            found = client.create_collection(
                _legal_name(name), metadata={_NAME: name}, configuration={"hnsw": _HNSW}, embedding_function=None
            )
        self._open[name] = found
        return found

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """One caller at a time; whatever Chroma's native part raises becomes `IndexDamaged`."""
        from chromadb.errors import ChromaError

        with self._lock:
            try:
                yield
            except (ChromaError, RuntimeError, OSError, KeyError) as error:
                reason = str(error).strip().split("\n", 1)[0]
                raise IndexDamaged(f"the dense index {self._path} cannot be used ({reason})") from error


def _opened(path: Path) -> Client:
    from chromadb import PersistentClient
    from chromadb.api.client import Client
    from chromadb.config import Settings

    client = PersistentClient(str(path), settings=Settings(anonymized_telemetry=False, allow_reset=False))
    if not isinstance(client, Client):  # the interface it is declared with has no close()
        raise TypeError(f"chromadb made a {type(client).__name__}, which cannot be closed")
    return client


def _legal_name(name: str) -> str:
    """A name Chroma accepts (3–512 of a–z, 0–9, ``._-``), different for different ``name``."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32]
    return (
        f"c-{readable}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        if readable
        else (f"c-{hashlib.sha256(name.encode()).hexdigest()[:16]}")
    )
