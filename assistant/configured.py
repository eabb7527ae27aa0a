"""The settings of an assistant, which may change while it runs: what requests see, who changes it, who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.generation import GenerationRecord, ReloadResult
from ..config.generations import Callback
from ..config.live import LiveSettings
from ..config.load import LoadedSettings
from ..config.schema import Settings
from ..config.watch import WatchState
from .experiment import Experiment, VariantReport


class Configured:
    """The part of `Assistant` that deals with settings. Thread-safe."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
        self._experiment = Experiment()

    @property
    def settings(self) -> Settings:
        """The snapshot that the next request sees; its values never change, a change makes another one."""
        return self._live.snapshot.settings

    @property
    def loaded(self) -> LoadedSettings:
        """The settings in use with the place each value came from."""
        return self._live.loaded

    @property
    def generation(self) -> int:
        """Number of the settings in use: 1 at the start, one more with each change."""
        return self._live.generation

    @property
    def watching(self) -> WatchState:
        """Whether and how the settings' files are watched."""
        return self._live.watching

    @property
    def last_reload(self) -> ReloadResult:
        """How the last attempt to change settings ended, with everything that was wrong."""
        return self._live.last_result

    def on_change(self, keys: Sequence[str], callback: Callback) -> Callable[[], None]:
        """Call ``callback`` with the `Change`s (old, new, origin) under ``keys`` after each change.

        Keys may be sections (``"rag"``); none at all stands for every setting. The callback runs on the thread that
        made the change; what it raises is logged. Call what is returned to end it.
        """
        return self._live.on_change(keys, callback)

    def update(self, values: Mapping[str, Any], *, persist: Path | bool = False) -> ReloadResult:
        """Change settings from the program: ``update({"rag.alpha": 0.3})``. They win over files and variables.

        ``persist`` also writes them to the settings file, or the one named, and keeps its comments.

        Raises:
            ConfigError: a value is wrong or cannot be used here (nothing has changed), or the file cannot be written.
        """
        return self._live.update(values, persist=persist)

    def revert(self, *keys: str) -> ReloadResult:
        """Undo `update` for these keys or sections, or for all.

        Raises:
            ConfigError: what the other sources say cannot be used now.
        """
        return self._live.revert(*keys)

    def reload(self) -> ReloadResult:
        """Read files and variables again and take up what differs; the result says what, or what was wrong."""
        return self._live.reload()

    def rollback(self, generation: int) -> ReloadResult:
        """Serve the settings of an earlier generation again, until a file changes, or `reload`.

        Raises:
            LookupError: the history does not hold it.
            ConfigError: they cannot be used any more.
        """
        return self._live.rollback(generation)

    def history(self) -> tuple[GenerationRecord, ...]:
        """The last hundred generations with what changed, oldest first."""
        return self._live.history()

    def variants(self) -> tuple[VariantReport, ...]:
        """What each variant of the settings did so far."""
        return self._experiment.report()

    def metrics(self) -> str:
        """Figures on changed settings in Prometheus' text format."""
        return self._live.metrics.exposition()
