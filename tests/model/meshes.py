"""Tiny networks over meshes of simulated devices, and alone; run as a program, which has eight devices to itself."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from capibara.config.schema import ModelSettings
from capibara.model import Sampling, open_model
from capibara.model.adapter_files import LoraFactors
from capibara.model.architecture import DecoderConfig, ExpertsConfig, LayerKind
from capibara.model.chunks import SMALLEST_CACHE, SMALLEST_CHUNK, Chunk
from capibara.model.grouped_weights import Bits, quantise_groups
from capibara.model.head_pattern import HeadPattern, patterned
from capibara.model.language_model import JaxLanguageModel
from capibara.model.linear import quantise_rows
from capibara.model.matrices import matrices, vectors
from capibara.model.rotary import rope_frequencies
from capibara.model.runner import DecoderRunner
from capibara.model.sharding import placement_for
from capibara.model.weights import build

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
PROMPTS = ["The river rises in the mountains", "and the road ends there"]
REPEATING = "the night in Casa Garza costs, the night in Casa Garza costs, the night in "
EXCHANGES = re.compile(r"= \(?\w+\[([\d,]*)\]\S* (?:all-\w+|collective-\w+|reduce-scatter)(?:-start)?\(")


def shape(heads: int = 8, kv_heads: int = 8, **sizes: Any) -> DecoderConfig:
    """Everything divides by eight, if ``sizes`` do not say otherwise."""
    plain = {"vocabulary": 256, "width": 64, "layers": 2, "head_width": 8, "hidden_width": 96, "tied_head": True}
    rest = {"context_tokens": 512, "norm_epsilon": 1e-5, "rope_frequencies": rope_frequencies(10000.0, 8)}
    return DecoderConfig(heads=heads, kv_heads=kv_heads, **{**plain, **rest, **sizes})


EVEN = shape(tied_head=False, attention_bias=True)
UNEVEN = shape(3, 1, vocabulary=259, width=36, head_width=10, hidden_width=33)
STREAMING = patterned(shape(kv_heads=8), HeadPattern(((1.0, 0.0) * 4, (0.0,) * 8), 2, 6))
MIXTURE = shape(
    hidden_width=32,
    layer_kinds=(LayerKind(experts=True), LayerKind()),
    experts=ExpertsConfig(count=4, used=2, hidden_width=32, renormalise=True),
)


@dataclass(frozen=True)
class Network:
    """Random weights of a shape, large enough that answers differ from token to token."""

    config: DecoderConfig
    packed: dict[str, np.ndarray]
    factors: dict[str, LoraFactors] | None = None

    def over(self, mesh: str) -> DecoderRunner:
        return DecoderRunner(build(self.config, self.packed, self.factors), placement_for(ModelSettings(mesh=mesh)))


def random_network(config: DecoderConfig) -> Network:
    rng = np.random.default_rng(0)
    packed = {f"{one.name}.weight": rng.normal(0, 0.2, (one.rows, one.columns)) for one in matrices(config)}
    for vector in vectors(config):
        packed[vector.name] = rng.normal(1, 0.1, sum(vector.parts.values()))
    return Network(config, {name: values.astype(np.float32) for name, values in packed.items()})


def in_8_bits(network: Network) -> Network:
    packed = {name: values for name, values in network.packed.items() if not name.endswith(".weight")}
    for matrix in matrices(network.config):
        rounded, scale = quantise_rows(network.packed[f"{matrix.name}.weight"])
        packed |= {f"{matrix.name}.weight": rounded, f"{matrix.name}.scale": scale}
    return Network(network.config, packed)


def in_groups(network: Network, bits: Bits) -> Network:
    """All matrices but the routers, with their adapters if there are any."""
    packed = {name: values for name, values in network.packed.items() if not name.endswith(".weight")}
    for matrix in matrices(network.config):
        weight = network.packed[f"{matrix.name}.weight"]
        parts = {"weight": weight} if matrix.exact else quantise_groups(weight, bits)._asdict()
        packed |= {f"{matrix.name}.{part}": values for part, values in parts.items() if values is not None}
    return Network(network.config, packed, network.factors)


def adapted(network: Network) -> Network:
    rng = np.random.default_rng(1)

    def factors(rows: int, columns: int) -> LoraFactors:
        return LoraFactors(*(rng.normal(0, 0.2, size).astype(np.float32) for size in ((4, columns), (rows, 4))))

    changed = {one.name: factors(one.rows, one.columns) for one in matrices(network.config) if "layers" in one.name}
    return Network(network.config, network.packed, changed)


def compared(network: Network, meshes: list[str]) -> dict[str, float]:
    """By mesh, how far any logit over it is from what one device gives."""
    alone = network.over("none").score(TOKENS)
    return {mesh: float(np.abs(network.over(mesh).score(TOKENS) - alone).max()) for mesh in meshes}


def greedy_tokens(runner: DecoderRunner) -> list[int]:
    """Past a window of a few tokens."""
    choice, progress = runner.choice(Sampling(), 0), runner.begin(SMALLEST_CACHE)
    progress, token = runner.prefill(progress, TOKENS, Chunk(0, len(TOKENS), SMALLEST_CHUNK), choice)
    made = [int(token)]
    for position in range(len(TOKENS), len(TOKENS) + 12):
        (progress,), tokens = runner.advance([progress], [position], [choice])
        made.append(int(tokens[0]))
    return made


def layout(runner: DecoderRunner) -> dict[str, Any]:
    """Bytes of weights and caches, in all and on each device, and the shapes of what the first device has."""
    caches = jax.tree.leaves(runner.begin(SMALLEST_CACHE).caches)
    held = {device.id: 0 for device in jax.devices()}
    for array in [*runner.weights, *caches]:
        for shard in array.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    return {
        "held": [bytes_held for bytes_held in held.values() if bytes_held],
        "in_all": sum(array.nbytes for array in [*runner.weights, *caches]),
        "cache": caches[0].addressable_shards[0].data.shape,
        "weights": {
            name: weight.addressable_shards[0].data.shape
            for name, weight in zip(runner.names, runner.weights, strict=True)
        },
    }


def largest_exchange(runner: DecoderRunner) -> int:
    """Values in the largest array that devices exchange in one decode step."""
    operands = [runner.begin(SMALLEST_CACHE)], np.zeros(1, np.int32), [runner.choice(Sampling(), 0)], None
    step = runner._compiled.advance.lower(runner.weights, *operands).compile()
    shapes = [found.group(1) for found in EXCHANGES.finditer(step.as_text())]
    assert shapes, "devices that share a product must exchange something"
    return max(int(np.prod([int(size) for size in found.split(",") if size])) for found in shapes)


class Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def answers(folder: Path, mesh: str) -> dict[str, Any]:
    """What a model that is opened so writes: two prompts at once, one with drafts, one at random; what the log said."""
    told = Told()
    logging.getLogger("capibara.model.sharding").addHandler(told)
    model = open_model(ModelSettings(path=str(folder), mesh=mesh, compute="float32"), cache=folder.parent / "cache")
    assert isinstance(model, JaxLanguageModel)
    texts = [each.text for each in model.generate_batch(PROMPTS, Sampling(max_tokens=16))]
    for sampling in (Sampling(max_tokens=24), Sampling(max_tokens=24, temperature=1.0, seed=3)):
        texts.append(model.generate(REPEATING, sampling).text)
    logging.getLogger("capibara.model.sharding").removeHandler(told)
    return {"texts": texts, "told": told.messages, "drafted": model.metrics.drafted_tokens}


def main(folder: str) -> None:
    even, mixture, streaming = (random_network(config) for config in (EVEN, MIXTURE, STREAMING))
    report = {
        "devices": len(jax.devices()),
        "even": compared(even, ["tensor=2", "tensor=4", "tensor=8", "data=2,tensor=4"]),
        "uneven": compared(random_network(UNEVEN), ["tensor=2", "tensor=4", "tensor=8"]),
        "mixture": compared(mixture, ["tensor=4"]),
        "streaming": compared(streaming, ["tensor=4"]),
        "streaming tokens": {mesh: greedy_tokens(streaming.over(mesh)) for mesh in ("none", "tensor=4")},
        "adapted": compared(adapted(even), ["tensor=4"]),
        "8 bits": compared(in_8_bits(even), ["tensor=4"]),
        "groups of 8 bits": compared(in_groups(even, 8), ["tensor=2"]),
        "groups of 4 bits": compared(in_groups(adapted(even), 4), ["tensor=2"]),
        "mixture in groups": compared(in_groups(mixture, 4), ["tensor=2"]),
        "layout of groups": layout(in_groups(even, 4).over("tensor=2")),
        "layout": {mesh: layout(even.over(mesh)) for mesh in ("none", "tensor=4", "data=2,tensor=4", "auto")},
        "mixture's layout": layout(mixture.over("tensor=4")),
        "exchanged": {
            name: largest_exchange(one.over("tensor=4")) for name, one in (("even", even), ("mixture", mixture))
        },
        "answers": {mesh: answers(Path(folder), mesh) for mesh in ("none", "data=2,tensor=2", "tensor=8")},
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
