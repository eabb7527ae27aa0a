"""Predicts the memory a model will take, by arithmetic the first time and by what was measured from then on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..config.schema import ModelSettings
from .adapter_source import AdapterSource
from .memory import MemoryEstimate, estimate_for
from .memory_gauge import MemoryGauge
from .whole_file import whole_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a loaded model without its caches: at rest, and at the peak of loading."""

    loaded: int
    peak: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model will take. ``caches`` are the bytes of keys and values, at their most.

    ``weights`` is less than it can ever take; ``key`` names what was predicted, and ``measured`` says how.
    """

    key: str
    footprint: Footprint
    caches: int
    weights: int
    measured: bool

    @property
    def held(self) -> int:
        """Bytes it holds, or may want at any time, once it is loaded."""
        return self.footprint.loaded + self.caches

    @property
    def needed(self) -> int:
        """Bytes that must be there for it to be loaded and used."""
        return max(self.footprint.peak, self.held)


class Footprints:
    """What models were found to take, in a JSON file that may be deleted at any time.

    A model is known by its checkpoint, its arithmetic, its adapters, what drafts for it and where it runs. For use from
    one thread at a time; of several programs that write at once, one wins.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def predict(
        self,
        settings: ModelSettings,
        gauge: MemoryGauge,
        *,
        adapters: Mapping[str, AdapterSource] | None = None,
    ) -> Prediction:
        """Before anything is loaded; only headers are read.

        Raises:
            ModelError: there is no such model, or it cannot be run; as `estimate_for`.
        """
        estimate, key = estimate_for(settings, adapters), _key(settings, gauge, adapters)
        measured = self._read().get(key)
        footprint = measured or _by_arithmetic(estimate, gauge)
        return Prediction(key, footprint, estimate.cache, estimate.weights + estimate.adapters, measured is not None)

    def record(self, prediction: Prediction, measured: Footprint) -> None:
        """What was predicted has been loaded, and took what was ``measured``."""
        # Memory that others gave back meanwhile makes a model look small; smaller than its weights it is not.
        loaded = max(measured.loaded, prediction.weights)
        found = {**self._read(), prediction.key: Footprint(loaded, max(measured.peak, loaded))}
        try:
            with whole_file(self._file) as unfinished:
                unfinished.write_text(json.dumps({key: asdict(one) for key, one in found.items()}, indent=1), "utf-8")
        except OSError as error:
            _log.warning("what models take cannot be noted in %s, and is estimated again: %s", self._file, error)

    def _read(self) -> dict[str, Footprint]:
        try:
            return {key: _footprint(one) for key, one in json.loads(self._file.read_text("utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("%s is damaged and will be made again: %s", self._file, error)
            return {}


def _footprint(stored: dict[str, int]) -> Footprint:
    found = Footprint(**stored)
    if not (isinstance(found.loaded, int) and isinstance(found.peak, int) and 0 < found.loaded <= found.peak):
        raise ValueError(f"{stored} are no numbers of bytes")
    return found


def _by_arithmetic(estimate: MemoryEstimate, gauge: MemoryGauge) -> Footprint:
    loaded = estimate.loaded
    return Footprint(loaded, loaded + estimate.weights if gauge.doubled else loaded)


def _key(settings: ModelSettings, gauge: MemoryGauge, adapters: Mapping[str, AdapterSource] | None) -> str:
    from .open import adapter_sources, draft_settings, open_checkpoint
    from .runner_loading import compute_for

    checkpoint = open_checkpoint(settings)
    used = sorted(adapter_sources(checkpoint, settings, adapters).items())
    kinds = "+".join(f"{name}:{source.mode}" for name, source in used)
    mesh = "" if settings.mesh == "none" else f"over {settings.mesh}"
    own = draft_settings(settings)
    draft = "" if own is None else f"drafted by {open_checkpoint(own).fingerprint}"
    parts = (checkpoint.fingerprint, compute_for(settings), type(gauge).__name__, kinds, mesh, draft)
    return " ".join(filter(None, parts))
