"""What can go wrong in this room; every message is one line that names the thing and the way out."""

from __future__ import annotations


class RagError(Exception):
    """Base of the room's errors."""


class DocumentError(RagError):
    """A document cannot be read; the message says why and does not repeat the path."""


class StoreError(RagError):
    """The data folder cannot be used."""


class DataFolderLocked(StoreError):
    """Another process owns the data folder."""


class NewerSchema(StoreError):
    """The data folder was made by a newer version."""


class DiskFull(StoreError):
    """No space is left; nothing of the document at hand was stored."""


class DocumentNotFound(StoreError):
    """No document has that id, source or title, or several have."""


class EmbeddingModelChanged(StoreError):
    """The stored vectors come from another embedding model; `--reindex` embeds everything again."""


class ModelNotFound(RagError):
    """A model's folder is missing or incomplete."""


class BackendUnavailable(RagError):
    """The engine asked for cannot run the model here; the message says why."""


class IndexDamaged(RagError):
    """A derived index cannot be read; its owner deletes the folder and rebuilds it from the store."""
