"""Runs a network on the device: compiled steps over bounded shapes, with caches handed on from step to step.

Axes: B sequences (one), T new tokens, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from .architecture import DecoderConfig
from .decoder import Decoder, LayerCache
from .protocol import Sampling
from .sampling import Choice, choice_of, choose
from .skeleton import SplitDecoder, split

LARGEST_CHUNK = 256
SMALLEST_CHUNK = 32
SMALLEST_CACHE = 512
_STRUCTURES = 8


class Progress(NamedTuple):
    """What a sequence has on the device: caches of each layer, tokens seen so far, and the newest token [B, 1]."""

    caches: list[LayerCache]
    seen: Bool[Array, "B V"]
    token: Int[Array, "B 1"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens ``[start, start + count)`` of a prompt, run as a step of ``size`` tokens."""

    start: int
    count: int
    size: int


def chunks_of(tokens: int) -> list[Chunk]:
    """Cuts a prompt into full chunks and a rest, whose size is the next power of two: few shapes, little padding."""
    found = [
        Chunk(start, LARGEST_CHUNK, LARGEST_CHUNK) for start in range(0, tokens - LARGEST_CHUNK + 1, LARGEST_CHUNK)
    ]
    start = len(found) * LARGEST_CHUNK
    if start < tokens:
        found.append(Chunk(start, tokens - start, _bucket(tokens - start, SMALLEST_CHUNK)))
    return found


def cache_slots(tokens: int) -> int:
    """Slots of the cache for a sequence that may grow to ``tokens``: a power of two, so that there are few shapes."""
    return _bucket(tokens, SMALLEST_CACHE)


class StepShape(NamedTuple):
    """What a step is compiled for: its tokens, and the slots of the caches."""

    tokens: int
    slots: int


class CompiledSteps:
    """The steps of every network of one structure, whatever its weights; compiled for a shape when first needed."""

    def __init__(self, graph: nnx.GraphDef, structure: Any) -> None:
        def merged(leaves: list[Array]) -> Decoder:
            return nnx.merge(graph, jax.tree.unflatten(structure, leaves))

        def step(weights, progress, tokens_BT, start, count, choice):
            network = merged(weights)
            x_BTD, caches = network(tokens_BT, start, progress.caches)
            last_B1D = jax.lax.dynamic_slice_in_dim(x_BTD, count - 1, 1, axis=1)
            given_BT = jnp.where(jnp.arange(tokens_BT.shape[1]) < count, tokens_BT, tokens_BT[:, :1])
            seen_BV = progress.seen.at[jnp.zeros_like(given_BT), given_BT].set(True)
            token_B = choose(network.logits(last_B1D)[:, 0], seen_BV, choice, start + count)
            return Progress(caches, seen_BV, token_B[:, None])

        def score(weights, tokens_BT):
            network = merged(weights)
            return network.logits(network(tokens_BT, jnp.int32(0))[0])

        self.shapes: set[StepShape] = set()
        self.step = jax.jit(step, donate_argnums=1)
        self.score = jax.jit(score)


@functools.lru_cache(maxsize=_STRUCTURES)
def _steps_for(
    graph: nnx.GraphDef,
    structure: Any,
    shapes: tuple[tuple[int, ...], ...],  # noqa: ARG001 -- tells apart adapters of two ranks, whose graphs are equal
) -> CompiledSteps:
    """Kept for the structures used last: a model that comes back, or another of its kind, is not compiled again."""
    return CompiledSteps(graph, structure)


class DecoderRunner:
    """One network, split once into structure and weights, with its compiled steps. Safe to use from several threads."""

    def __init__(self, decoder: Decoder | SplitDecoder, device: jax.sharding.Sharding | None = None) -> None:
        """``device`` is where the weights lie and the steps run; None: where JAX prefers."""
        config, graph, structure, weights = split(decoder) if isinstance(decoder, Decoder) else decoder
        self.config: DecoderConfig = config
        # Arrays that are bound to a device take the steps, and what these are given, with them.
        self.weights = weights if device is None else jax.device_put(weights, device)
        self._compiled = _steps_for(graph, structure, tuple(weight.shape for weight in weights))

    @property
    def shapes(self) -> frozenset[StepShape]:
        """What has been run, with this network or with another of its structure: no request waits for that again."""
        return frozenset(self._compiled.shapes)

    def make_ready(self, shapes: Iterable[StepShape]) -> None:
        """Run those of ``shapes`` that are new here and have the smallest cache: no request has to wait for them.

        Longer ones are left until they are needed: there are many, and which ones hangs on the tokenizer.
        """
        choice = choice_of(Sampling(), 0)
        for shape in sorted(frozenset(shapes) - self.shapes):
            if shape.slots == SMALLEST_CACHE:
                chunk = Chunk(0, shape.tokens, shape.tokens)
                self.prefill(self.begin(shape.slots), [0] * shape.tokens, chunk, choice).token.block_until_ready()

    def begin(self, slots: int) -> Progress:
        """Empty caches for ``slots`` tokens."""
        shape = (1, self.config.kv_heads, slots, self.config.head_width)
        caches = [LayerCache(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(self.config.layers)]
        return Progress(caches, jnp.zeros((1, self.config.vocabulary), bool), jnp.zeros((1, 1), jnp.int32))

    def prefill(self, progress: Progress, tokens: Sequence[int], chunk: Chunk, choice: Choice) -> Progress:
        """Run one chunk of the prompt; after the last one ``token`` is the first generated token."""
        padded_BT = np.full((1, chunk.size), tokens[chunk.start], np.int32)
        padded_BT[0, : chunk.count] = tokens[chunk.start : chunk.start + chunk.count]
        return self._run(progress, padded_BT, chunk.start, chunk.count, choice)

    def advance(self, progress: Progress, position: int, choice: Choice) -> Progress:
        """Run the newest token, which stands at ``position``, and choose the next one."""
        return self._run(progress, progress.token, position, 1, choice)

    def _run(self, progress: Progress, tokens_BT: Any, start: int, count: int, choice: Choice) -> Progress:
        self._compiled.shapes.add(StepShape(tokens_BT.shape[1], progress.caches[0].keys.shape[2]))
        return self._compiled.step(self.weights, progress, tokens_BT, np.int32(start), np.int32(count), choice)

    def score(self, tokens: Sequence[int]) -> Float[np.ndarray, "T V"]:
        """float32 logits at every position, without a cache."""
        return np.asarray(self._compiled.score(self.weights, np.asarray([tokens], np.int32))[0])

    def compiled_steps(self) -> int:
        """Distinct shapes the step has been compiled for, by this network or by others of its structure."""
        return self._compiled.step._cache_size()  # pyright: ignore[reportAttributeAccessIssue]


def _bucket(count: int, smallest: int) -> int:
    return max(smallest, 1 << (count - 1).bit_length())
