"""Runs a network on the device, with caches handed on from step to step.

Axes: B sequences, T new tokens, R drafts, V vocabulary, W words of 32 bits for a vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from .architecture import DecoderConfig
from .chunks import SMALLEST_CACHE, Chunk
from .compiled_steps import VERIFIED_ROWS, CompiledSteps, Progress, StepShape, Verified
from .decoder import Decoder
from .head_groups import CacheKind, head_groups, token_bytes
from .masks import everything
from .protocol import Sampling
from .sampling import Choice, Opening, choice_of
from .sequence_caches import Block
from .sharding import Placement
from .skeleton import SplitDecoder, split

_STRUCTURES = 8


@functools.lru_cache(maxsize=_STRUCTURES)
def _steps_for(
    config: DecoderConfig,
    graph: nnx.GraphDef,
    structure: Any,
    shapes: tuple[tuple[int, ...], ...],  # noqa: ARG001 -- tells apart adapters of two ranks, whose graphs are equal
    mesh: Mesh | None,
    cache: CacheKind,  # noqa: ARG001 -- which of them have been run is told by their shapes
) -> CompiledSteps:
    """Kept for the structures used last: a model that comes back, or another of its kind, is not compiled again."""
    return CompiledSteps(config, graph, structure, mesh)


class DecoderRunner:
    """One network, split once into structure and weights, with its compiled steps. Safe to use from several threads."""

    def __init__(
        self, decoder: Decoder | SplitDecoder, placement: Placement | None = None, cache: CacheKind = "float"
    ) -> None:
        """``placement`` is where the weights lie and the steps run; None: on the device that JAX prefers. ``cache`` is
        how keys and values are kept."""
        config, graph, structure, weights, names = split(decoder) if isinstance(decoder, Decoder) else decoder
        self.config: DecoderConfig = config
        self.names = names
        self._placement = placement
        by_name = dict(zip(names, weights, strict=True))
        # Arrays that are bound to devices take the steps, and what these are given, with them.
        placed = by_name if placement is None else placement.weights(config, by_name)
        self.weights = [placed[name] for name in names]  # JAX gives dictionaries back in the order of their keys
        # Keys and values are of the activations' type, which that of the embedding decides.
        half = by_name["embedding.weight"].dtype == jnp.bfloat16
        self._cache_type = jnp.dtype(jnp.bfloat16 if half else jnp.float32)
        shapes, mesh = tuple(weight.shape for weight in weights), None if placement is None else placement.mesh
        self._cache: CacheKind = cache
        self._compiled = _steps_for(config, graph, structure, shapes, mesh, cache)
        self._groups = head_groups(config)

    @property
    def shapes(self) -> frozenset[StepShape]:
        """What has been run, with this network or with another of its structure: no request waits for that again."""
        return frozenset(self._compiled.shapes)

    def make_ready(self, shapes: Iterable[StepShape], largest: int = SMALLEST_CACHE) -> None:
        """Run those of ``shapes`` that are new here and have caches of at most so many slots: no request has to wait
        for them.

        Longer ones are best left until they are needed: there are many, and which ones hangs on the tokenizer.
        """
        here = {shape._replace(slots=self._largest_cache(shape.slots)) for shape in shapes}
        for shape in sorted(here - self.shapes):
            if shape.slots <= largest:
                jax.block_until_ready(self._run_once(shape)[1])

    def _largest_cache(self, slots: int) -> int:
        """As `Progress.slots` of sequences with room for so many tokens."""
        return max(group.slots(slots) for layer in self._groups for group in layer)

    def _run_once(self, shape: StepShape) -> tuple[Any, Any]:
        batch, choice = [self.begin(shape.slots) for _ in range(shape.sequences)], self.choice(Sampling(), 0)
        if shape.tokens == 1:
            return self.advance(batch, [0] * len(batch), [choice] * len(batch))
        if shape.tokens == VERIFIED_ROWS and shape.sequences == 1:
            return self.verify(batch[0], [0], 0, choice)
        prompts, chunks = [[0] * shape.tokens] * len(batch), [Chunk(0, shape.tokens, shape.tokens)] * len(batch)
        return self.prefill_together(batch, prompts, chunks, [choice] * len(batch))

    def begin(self, slots: int, seen: Sequence[int] = ()) -> Progress:
        """Empty caches for ``slots`` tokens; ``seen`` are those that `write_block` will put there."""
        seen_V = np.zeros(self.config.vocabulary, bool)
        seen_V[list(seen)] = True
        # Bound to devices, and with it what comes of it: steps are compiled for what is bound or for what is not.
        everywhere = None if self._placement is None else self._placement.whole
        return self._compiled.begin(jnp.asarray(seen_V, device=everywhere), slots, self._cache, self._cache_type)

    def choice(self, sampling: Sampling, seed: int, opening: Opening | None = None) -> Choice:
        """As `choice_of`, where the steps run: over a mesh each step would else send it to all devices anew."""
        choice, placement = choice_of(sampling, seed, opening), self._placement
        return choice if placement is None or placement.mesh is None else jax.device_put(choice, placement.whole)

    def prefill(
        self,
        progress: Progress,
        tokens: Sequence[int],
        chunk: Chunk,
        choice: Choice,
        allowed_W: Int[np.ndarray, " W"] | None = None,
    ) -> tuple[Progress, Int[Array, ""]]:
        """Run one chunk of the prompt; after the last one the token is the first generated one.

        ``allowed_W`` has the bits of the tokens that may be chosen; None: all may.
        """
        allowed = None if allowed_W is None else [allowed_W]
        (after,), token_B = self.prefill_together([progress], [tokens], [chunk], [choice], allowed)
        return after, token_B[0]

    def prefill_together(
        self,
        batch: Sequence[Progress],
        prompts: Sequence[Sequence[int]],
        chunks: Sequence[Chunk],
        choices: Sequence[Choice],
        allowed: Sequence[Int[np.ndarray, " W"] | None] | None = None,
    ) -> tuple[list[Progress], Int[Array, " B"]]:
        """Run one chunk of each prompt, all of one size, in one step; see `prefill`."""
        tokens_BT = np.zeros((len(batch), chunks[0].size), np.int32)
        for row_T, tokens, chunk in zip(tokens_BT, prompts, chunks, strict=True):
            row_T[: chunk.count] = tokens[chunk.start : chunk.start + chunk.count]
        starts_B = np.asarray([chunk.start for chunk in chunks], np.int32)
        counts_B = np.asarray([chunk.count for chunk in chunks], np.int32)
        self._note(chunks[0].size, *batch)
        return self._compiled.prefill(
            self.weights, list(batch), tokens_BT, starts_B, counts_B, list(choices), self._packed(allowed)
        )

    def advance(
        self,
        batch: Sequence[Progress],
        positions: Sequence[int],
        choices: Sequence[Choice],
        allowed: Sequence[Int[np.ndarray, " W"] | None] | None = None,
    ) -> tuple[list[Progress], Int[Array, " B"]]:
        """Run the newest token of each sequence, which stands at its position, and choose the next ones."""
        self._note(1, *batch)
        starts_B = np.asarray(positions, np.int32)
        return self._compiled.advance(self.weights, list(batch), starts_B, list(choices), self._packed(allowed))

    def _packed(self, allowed: Sequence[Int[np.ndarray, " W"] | None] | None) -> Int[np.ndarray, "B W"] | None:
        if allowed is None or all(mask is None for mask in allowed):
            return None
        all_W = everything(self.config.vocabulary)
        return np.stack([all_W if mask is None else np.asarray(mask, np.int32) for mask in allowed])

    def verify(
        self, progress: Progress, drafts: Sequence[int], position: int, choice: Choice
    ) -> tuple[Progress, Verified]:
        """Run the newest token, which stands at ``position``, and tokens that may follow it; keep those that do.

        What is chosen is what `advance` would choose, one by one (Leviathan et al., 2211.17192; drafts that were
        looked up are certain, so that a draft is right if it is the very token that is drawn).
        """
        padded_R = np.zeros(VERIFIED_ROWS - 1, np.int32)
        padded_R[: len(drafts)] = drafts
        self._note(VERIFIED_ROWS, progress)
        return self._compiled.verify(
            self.weights, progress, padded_R, np.int32(position), np.int32(len(drafts)), choice
        )

    def read_block(self, progress: Progress, start: int, size: int) -> Block:
        """A copy of what the caches hold for ``size`` tokens from ``start``, if they hold them all: see `holds`."""
        return self._compiled.read(progress, np.int32(start), size)

    def write_block(self, progress: Progress, start: int, block: Block) -> Progress:
        """``progress`` with a block that was read from a sequence which begins alike; blocks are to be written in
        their order."""
        return self._compiled.write(progress, np.int32(start), block)

    def holds(self, start: int, size: int, tokens: int) -> bool:
        """No cache of a sequence of ``tokens`` has given the places of ``size`` tokens from ``start`` to others."""
        return all(group.keeps(start, start + size, tokens) for layer in self._groups for group in layer)

    def block_bytes(self, size: int) -> int:
        """Memory of a block of ``size`` tokens."""
        each = 2 * token_bytes(self.config, self._cache_type.itemsize, self._cache)
        return self.config.layers * self.config.kv_heads * size * each

    def _note(self, tokens: int, *batch: Progress) -> None:
        self._compiled.shapes.add(StepShape(tokens, batch[0].slots, len(batch)))

    def score(self, tokens: Sequence[int]) -> Float[np.ndarray, "T V"]:
        """float32 logits at every position, without a cache."""
        return np.asarray(self._compiled.score(self.weights, np.asarray(tokens, np.int32)))

    def compiled_steps(self) -> int:
        """Distinct shapes the steps have been compiled for, by this network or by others of its structure."""
        steps = (self._compiled.prefill, self._compiled.advance, self._compiled.verify)
        return sum(step._cache_size() for step in steps)  # pyright: ignore[reportAttributeAccessIssue]
