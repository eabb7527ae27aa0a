"""Adapters of random changes, and tiny models that have them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from capibara.config.schema import ModelSettings
from capibara.model import AdapterSource, Sampling
from capibara.model.adapter_files import Adapter, LoraFactors, write_adapter
from capibara.model.adapter_source import AdapterMode
from capibara.model.language_model import JaxLanguageModel
from capibara.model.matrices import module_shapes
from capibara.model.runner_loading import Networks

MODES: tuple[AdapterMode, ...] = ("merged", "low-rank")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
TWELVE = Sampling(max_tokens=12)
PROMPT = "The river rises in the mountains and"


def random_adapter(config, targets=ALL, *, rank: int = 4, seed: int = 0, base_name: str = "tiny") -> Adapter:
    """Changes large enough that the answers differ."""
    rng = np.random.default_rng(seed)
    factors = {
        name: LoraFactors(
            rng.normal(0, inputs**-0.5, (rank, inputs)).astype(np.float32),
            rng.normal(0, 0.3, (outputs, rank)).astype(np.float32),
        )
        for name, (outputs, inputs) in module_shapes(config).items()
        if name.rpartition(".")[2] in targets
    }
    return Adapter(rank=rank, alpha=2.0 * rank, base_name=base_name, factors=factors)


@dataclass(frozen=True)
class Workshop:
    """Models of tiny random weights with adapters written to disk."""

    tiny: Any
    folder: Path

    def written(self, name: str, adapter: Adapter) -> Path:
        write_adapter(self.folder / name, adapter, np.float32)
        return self.folder / name

    def networks(self, config, tensors=None, compute="float32") -> Networks:
        tensors = self.tiny.tensors(config) if tensors is None else tensors
        settings = ModelSettings(compute=compute)
        return Networks(self.tiny.checkpoint(config, tensors), settings, self.folder / "cache")

    def model(self, config, sources: dict[str, AdapterSource], compute="float32") -> JaxLanguageModel:
        networks = self.networks(config, compute=compute)
        adapters = {name: partial(networks.adapted, source) for name, source in sources.items()}
        return JaxLanguageModel(self.tiny.checkpoint(config, {}), networks.plain, adapters=adapters)

    def three_in_both_modes(self, config) -> JaxLanguageModel:
        """Adapters ``0-merged`` to ``2-low-rank``: two of all projections, one of some in the first layer alone."""
        some = random_adapter(config, ("q_proj", "v_proj", "up_proj"), seed=3, rank=8)
        made = [
            random_adapter(config, seed=1),
            random_adapter(config, seed=2),
            replace(some, factors={name: pair for name, pair in some.factors.items() if ".layers.0." in name}),
        ]
        folders = [self.written(str(number), adapter) for number, adapter in enumerate(made)]
        return self.model(
            config, {f"{folder.name}-{mode}": AdapterSource(folder, mode) for folder in folders for mode in MODES}
        )
