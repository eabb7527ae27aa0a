"""What an orchestrator keeps of each of its models: whether it is loaded, who uses it, and since when."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from ..config.schema import ModelSettings
from .footprints import Prediction
from .memory_gauge import MemoryGauge
from .protocol import LanguageModel

State = Literal["unloaded", "waiting", "loading", "loaded"]


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as it stands. ``held`` are the bytes that are kept for it; ``uses`` counts its leases so far."""

    name: str
    state: State
    leases: int
    uses: int
    pinned: bool
    held: int


@dataclass(slots=True)
class Slot:
    """A model's place. What changes of it is read and changed under the orchestrator's lock."""

    name: str
    settings: ModelSettings
    pinned: bool
    leases: int = 0
    uses: int = 0
    used_at: int = 0
    state: State = "unloaded"
    ready: Future[None] = field(default_factory=Future)
    model: LanguageModel | None = None
    gauge: MemoryGauge | None = None
    prediction: Prediction | None = None

    @property
    def held(self) -> int:
        """Bytes it holds, or may want at any time; none until it is loaded."""
        return self.prediction.held if self.prediction is not None and self.state == "loaded" else 0

    @property
    def caches(self) -> int:
        """Bytes of those that its caches may grow to; none until it is loaded."""
        return self.prediction.caches if self.prediction is not None and self.state == "loaded" else 0

    def unload(self) -> LanguageModel | None:
        """What was loaded, for the caller to let go of: that takes time, and is no work for under the lock."""
        model = self.model
        self.state, self.model, self.ready = "unloaded", None, Future()
        return model

    @property
    def stays(self) -> str:
        """Why it cannot be unloaded; empty if it can."""
        if self.leases:
            return f"{self.name!r} is in use"
        return f"{self.name!r} is pinned" if self.pinned else ""
