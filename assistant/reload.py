"""Keeps the settings snapshot, and takes up a changed settings file between requests."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from typing import Any

from ..config.errors import ConfigError
from ..config.load import LoadedSettings, load_settings
from ..config.schema import Settings

_LOG = logging.getLogger(__name__)

RESTART_REQUIRED = (
    "data_dir",
    "model.threads",
    "rag.embedding_model",
    "rag.embedding_backend",
    "rag.embedding_batch",
    "rag.sparse_index",
)
"""Settings that name what is opened once; a change is refused until the next start."""


class SettingsFile:
    """The current snapshot. With ``watch``, the file is read again when its bytes have changed. Thread-safe.

    A broken file, or one that changes a setting that needs a restart, is reported once and changes nothing.
    """

    def __init__(self, loaded: LoadedSettings, overrides: Mapping[str, Any] | None, watch: bool) -> None:
        self._loaded = loaded
        self._overrides = overrides
        self._digest: str | None = None
        self._lock = threading.Lock()
        self._watch = watch and loaded.file is not None
        self._digest = self._read_digest()

    def current(self) -> LoadedSettings:
        """The newest valid snapshot."""
        if not self._watch:
            return self._loaded
        with self._lock:
            digest = self._read_digest()
            if digest != self._digest:
                self._digest = digest
                self._take_up()
            return self._loaded

    def _read_digest(self) -> str | None:
        if not self._watch or self._loaded.file is None:
            return None
        try:
            return hashlib.sha256(self._loaded.file.read_bytes()).hexdigest()
        except OSError as error:
            _LOG.warning("%s cannot be read (%s); the settings stay as they are", self._loaded.file, error.strerror)
            return self._digest

    def _take_up(self) -> None:
        try:
            new = load_settings(self._loaded.file, overrides=self._overrides)
        except ConfigError as error:
            _LOG.error("the settings stay as they are: %s", error)
            return
        fixed = [key for key in RESTART_REQUIRED if _value(new.settings, key) != _value(self._loaded.settings, key)]
        if fixed:
            _LOG.error("the settings stay as they are: %s can only change with a restart", ", ".join(fixed))
            return
        self._loaded = new


def _value(settings: Settings, key: str) -> object:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value
