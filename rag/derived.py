"""One derived index: opened, checked against the truth, healed, and kept up.

Damage is noticed in two ways. The files are sealed with checksums when they are closed, and compared before they are
opened again; after a crash there is no seal. And always the ids, and some known vectors, are compared with the truth.
What is missing, damaged or made with another model is filled again from stored vectors and terms: nothing is embedded.
"""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from .deferred import DeferredSparseIndex
from .errors import DiskFull, IndexDamaged, StoreError
from .protocols import DenseIndex, SparseIndex
from .seal import is_intact, seal
from .store import IndexEntry, Store

_LOG = logging.getLogger(__name__)

BATCH = 200
_KNOWN_SEALED = 4
_KNOWN_UNSEALED = 64
_SAME_VECTOR = 0.999
_PROBE_BYTES = 1 << 20
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

Index = TypeVar("Index", DenseIndex, SparseIndex)


class DerivedIndex(Generic[Index]):
    """Owner of one index; not thread-safe by itself. Its files stand at ``path``; an index in memory leaves none."""

    def __init__(self, name: str, path: Path, make: Callable[[], Index], store: Store, note: Callable[[str], None]):
        self._name = name
        self._path = path
        self._make = make
        self._store = store
        self._note = note
        self._seal: str | None = None
        self._was_sealed = False
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        if self._index is None:
            raise StoreError(f"the {self._name} index is closed")
        return self._index

    def open(self) -> None:
        """Open the index, or fill it anew if its files cannot be trusted."""
        reason = self._distrust()
        if not reason:
            fresh = not self._path.exists()
            try:
                self._index = self._make()
                if fresh:
                    self._fill()
            except IndexDamaged as error:
                reason = self._explained(error)
        if reason:
            self.rebuild(reason)
        self._store.set_meta(f"{self._name}:generation", str(self._store.generation))

    def write(self, collection: str, present: Sequence[IndexEntry], gone: Sequence[str]) -> None:
        """Add, replace and delete entries; an index that turns out damaged is filled anew instead."""
        try:
            if gone:
                self.index.delete(collection, gone)
            if present:
                self._upsert(collection, present)
        except IndexDamaged as error:
            self.rebuild(self._explained(error))

    def verify(self) -> None:
        """Compare ids and known vectors with the truth, and set right what differs."""
        if isinstance(self._index, DeferredSparseIndex):
            return
        try:
            changed = self._settle()
            sample = _KNOWN_SEALED if self._was_sealed else _KNOWN_UNSEALED
            reason = "" if self._holds_known(sample) else "its vectors differ from the stored ones"
        except IndexDamaged as error:
            changed, reason = 0, self._explained(error)
        if reason:
            self.rebuild(reason)
        elif changed:
            self._report(f"{changed} entries differed from the store")

    def rebuild(self, reason: str = "") -> None:
        """Delete the index and fill it from the truth; a reason is reported as something healed."""
        if self._index is not None:
            self._index.close()
            self._index = None
        self._delete_files()
        try:
            self._index = self._make()
            self._fill()
        except IndexDamaged as error:
            raise StoreError(f"the {self._name} index cannot be rebuilt: {self._explained(error)}") from error
        if reason:
            self._report(f"rebuilt: {reason}")

    def close(self) -> None:
        """Let go of the index and seal its files."""
        if self._index is not None:
            self._index.close()
            self._index = None
            try:
                self._store.set_meta(f"{self._name}:seal", seal(self._path, self._seal))
            except StoreError as error:  # without a seal the next start looks more closely
                _LOG.warning("%s index: not sealed: %s", self._name, error)

    def abandon(self) -> None:
        """Let go of the index without a seal, after an error."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in (self._path, *self._path.rglob("*")) if file.is_file())

    def _upsert(self, collection: str, entries: Sequence[IndexEntry]) -> None:
        raise NotImplementedError

    def _holds_known(self, sample: int) -> bool:
        raise NotImplementedError

    def _distrust(self) -> str:
        """Why the files must not be opened; empty if they may. Breaks the seal, for they may change from here on."""
        sealed = self._store.meta(f"{self._name}:seal")
        self._was_sealed = sealed is not None
        self._store.set_meta(f"{self._name}:seal", None)
        if sealed is not None and not is_intact(self._path, sealed):
            return "files changed or damaged" if self._path.exists() else "files missing"
        self._seal = sealed
        made_for = self._store.meta(f"{self._name}:generation")
        if made_for not in (None, str(self._store.generation)):
            return "made with another embedding model"
        return ""

    def _settle(self) -> int:
        """Write and delete the entries whose ids differ from the truth; how many they were."""
        changed = 0
        for collection in {*self._store.collections(), *self.index.collections()}:
            truth, held = self._store.indexed_ids(collection), self.index.ids(collection)
            missing, foreign = sorted(truth - held), sorted(held - truth)
            for start in range(0, len(missing), BATCH):
                self._upsert(collection, self._store.entries(missing[start : start + BATCH]))
            if not truth:
                self.index.drop(collection)
            elif foreign:
                self.index.delete(collection, foreign)
            changed += len(missing) + len(foreign)
        return changed

    def _fill(self) -> None:
        for collection in self._store.collections():
            for entries in self._store.all_entries(collection, BATCH):
                self._upsert(collection, entries)

    def _delete_files(self) -> None:
        if self._path.is_dir():
            shutil.rmtree(self._path)
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _report(self, what: str) -> None:
        _LOG.warning("%s index: %s", self._name, what)
        self._note(f"{self._name}: {what}")

    def _explained(self, error: IndexDamaged) -> str:
        """The error's message, unless it means that there is no space left."""
        if not _has_space(self._path.parent):
            raise DiskFull(f"no space left on the disk of {self._path.parent}: free some and run it again") from error
        return str(error)


def _has_space(folder: Path) -> bool:
    """Whether a megabyte can be written: an index's own message says everything but that the disk is full."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            return probe.write(bytes(_PROBE_BYTES)) == _PROBE_BYTES
    except OSError as error:
        return error.errno not in _NO_SPACE


class DerivedDense(DerivedIndex[DenseIndex]):
    """The dense index, from stored vectors."""

    def _upsert(self, collection: str, entries: Sequence[IndexEntry]) -> None:
        if entries:
            self.index.upsert(collection, [e.id for e in entries], np.stack([e.vector for e in entries]))

    def _holds_known(self, sample: int) -> bool:
        for collection in self._store.collections():
            for entry in self._store.sample_entries(collection, sample):
                found = self.index.query(collection, entry.vector, 1)
                if not found or found[0][1] < _SAME_VECTOR:
                    return False
        return True


class DerivedSparse(DerivedIndex[SparseIndex]):
    """The sparse index, from stored terms."""

    def _upsert(self, collection: str, entries: Sequence[IndexEntry]) -> None:
        self.index.upsert(collection, [(entry.id, entry.terms) for entry in entries])

    def _holds_known(self, sample: int) -> bool:
        del sample
        return True
