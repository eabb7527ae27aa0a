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


class EmbeddingModelChanged(StoreError):
    """The stored vectors come from another embedding model; `--reindex` embeds everything again."""


class ModelNotFound(RagError):
    """A model's folder is missing or incomplete."""
