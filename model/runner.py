"""Runs a network on the device: compiled steps over bounded shapes, with caches handed on from step to step.

Axes: B sequences, T new tokens, V vocabulary, W words of 32 bits for a vocabulary, D drafts; of a block of a cache:
L layers, C tokens, K key heads, H head width.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from .architecture import DecoderConfig
from .cached_attention import LayerCaches
from .chunks import SMALLEST_CACHE, Chunk
from .decoder import Decoder
from .head_groups import CacheKind, head_groups, token_bytes
from .masks import everything
from .protocol import Sampling
from .sampling import Choice, Opening, choice_of, choose, together
from .sequence_caches import Block, Groups, empty_caches, read_block, settled, write_block
from .sharding import Placement, split_heads, traced_over, whole
from .skeleton import SplitDecoder, split

VERIFIED_ROWS = 8
"""New tokens of a step that checks drafts: the newest token and seven drafts."""
_STRUCTURES = 8


class Progress(NamedTuple):
    """What one sequence has on the device: caches of each layer, tokens seen so far, and the newest token."""

    caches: list[LayerCaches]
    seen: Bool[Array, " V"]
    token: Int[Array, ""]

    @property
    def slots(self) -> int:
        """Of the largest cache: positions that there is room for, unless all heads forget."""
        return max(cache.slots for layer in self.caches for cache in layer)


class Verified(NamedTuple):
    """How many of the drafted tokens were right, and the token that follows each prefix of them."""

    accepted: Int[Array, ""]
    tokens: Int[Array, " T"]


class StepShape(NamedTuple):
    """What a step is compiled for: its new tokens of each sequence, the slots of the caches, and its sequences."""

    tokens: int
    slots: int
    sequences: int = 1


class CompiledSteps:
    """The steps of every network of one structure, whatever its weights; compiled for a shape when first needed."""

    def __init__(self, config: DecoderConfig, graph: nnx.GraphDef, structure: Any, mesh: Mesh | None = None) -> None:
        groups = head_groups(config)

        def merged(leaves: list[Array]) -> Decoder:
            return nnx.merge(graph, jax.tree.unflatten(structure, leaves))

        def run(network: Decoder, batch: Sequence[Progress], tokens_BT: Array, starts_B: Array):
            """Hidden states, and what `settled` makes each sequence's caches of."""
            by_layer = list(zip(*(progress.caches for progress in batch), strict=True))
            x_BTD, made = network(tokens_BT, starts_B, by_layer)
            return x_BTD, list(zip(*made, strict=True))

        def prefill(weights, batch, tokens_BT, starts_B, counts_B, choices, allowed_BW):
            network = merged(weights)
            x_BTD, made = run(network, batch, tokens_BT, starts_B)
            last_BD = jnp.take_along_axis(x_BTD, (counts_B - 1)[:, None, None], axis=1)[:, 0]
            real_BT = jnp.arange(tokens_BT.shape[1]) < counts_B[:, None]
            given_BT = jnp.where(real_BT, tokens_BT, tokens_BT[:, :1])
            seen = [progress.seen.at[given_T].set(True) for progress, given_T in zip(batch, given_BT, strict=True)]
            caches = kept_caches(batch, made, starts_B, counts_B)
            return chosen(network.logits(last_BD), caches, seen, choices, starts_B + counts_B, allowed_BW)

        def advance(weights, batch, starts_B, choices, allowed_BW):
            network = merged(weights)
            tokens_B = jnp.stack([progress.token for progress in batch])
            x_BTD, made = run(network, batch, tokens_B[:, None], starts_B)
            seen = [progress.seen.at[progress.token].set(True) for progress in batch]
            caches = kept_caches(batch, made, starts_B, jnp.ones_like(starts_B))
            return chosen(network.logits(x_BTD[:, 0]), caches, seen, choices, starts_B + 1, allowed_BW)

        def kept_caches(batch, made, starts_B, counts_B):
            """Each sequence's caches with its first new tokens, as many as count."""
            rows = zip(batch, made, starts_B, counts_B, strict=True)
            return [settled(groups, progress.caches, one, start, count) for progress, one, start, count in rows]

        def chosen(logits_BV, caches, seen, choices, positions_B, allowed_BW):
            """Where the sequences stand once the tokens for their positions are chosen, and these tokens."""
            tokens_B = choose(logits_BV, jnp.stack(seen), together(choices), positions_B, allowed_BW)
            after = [_kept(Progress(*parts)) for parts in zip(caches, seen, tokens_B, strict=True)]
            return after, tokens_B

        def verify(weights, progress, drafts_D, start, count, choice):
            network = merged(weights)
            tokens_T = jnp.concatenate([progress.token[None], drafts_D])
            x_BTD, (made,) = run(network, [progress], tokens_T[None], start[None])
            seen_V, seen = progress.seen, []
            for token in tokens_T:
                seen_V = seen_V.at[token].set(True)
                seen.append(seen_V)
            seen_TV, positions_T = jnp.stack(seen), start + 1 + jnp.arange(len(tokens_T))
            chosen_T = choose(network.logits(x_BTD[0]), seen_TV, choice, positions_T)
            right_D = (chosen_T[:-1] == drafts_D) & (jnp.arange(len(drafts_D)) < count)
            accepted = jnp.sum(jnp.cumprod(right_D))
            caches = settled(groups, progress.caches, made, start, accepted + 1)
            return _kept(Progress(caches, seen_TV[accepted], chosen_T[accepted])), Verified(accepted, chosen_T)

        def score(weights, tokens_T):
            network = merged(weights)
            return network.logits(network(tokens_T[None], jnp.zeros(1, jnp.int32))[0][0])

        over = functools.partial(traced_over, mesh)
        self.shapes: set[StepShape] = set()
        self.begin = jax.jit(over(functools.partial(_begin, config)), static_argnums=(1, 2, 3))
        self.prefill = jax.jit(over(prefill), donate_argnums=1)
        self.advance = jax.jit(over(advance), donate_argnums=1)
        self.verify = jax.jit(over(verify), donate_argnums=1)
        self.score = jax.jit(over(score))
        self.read = jax.jit(over(functools.partial(_read_block, groups)), static_argnums=2)
        self.write = jax.jit(over(functools.partial(_write_block, groups)), donate_argnums=0)


def _kept(progress: Progress) -> Progress:
    """Placed over a mesh as every step leaves it: a step is compiled for one placement of what it is given."""
    caches = jax.tree.map(lambda part: split_heads(part, part.shape[0]), progress.caches)
    return Progress(caches, whole(progress.seen), whole(progress.token))


def _begin(config: DecoderConfig, seen_V: Array, slots: int, kind: CacheKind, dtype: DTypeLike) -> Progress:
    caches = empty_caches(config, slots, kind, dtype)
    return _kept(Progress(caches, seen_V, jnp.zeros((), jnp.int32)))


def _read_block(groups: Groups, progress: Progress, start: Array, size: int) -> Block:
    return read_block(groups, progress.caches, start, size)


def _write_block(groups: Groups, progress: Progress, start: Array, block: Block) -> Progress:
    return _kept(progress._replace(caches=write_block(groups, progress.caches, start, block)))


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

    def make_ready(self, shapes: Iterable[StepShape]) -> None:
        """Run those of ``shapes`` that are new here and have the smallest cache: no request has to wait for them.

        Longer ones are left until they are needed: there are many, and which ones hangs on the tokenizer.
        """
        for shape in sorted(frozenset(shapes) - self.shapes):
            if shape.slots == SMALLEST_CACHE:
                jax.block_until_ready(self._run_once(shape)[1])

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
        padded_D = np.zeros(VERIFIED_ROWS - 1, np.int32)
        padded_D[: len(drafts)] = drafts
        self._note(VERIFIED_ROWS, progress)
        return self._compiled.verify(
            self.weights, progress, padded_D, np.int32(position), np.int32(len(drafts)), choice
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
