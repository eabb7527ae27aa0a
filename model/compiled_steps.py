"""A network's steps, compiled for bounded shapes: what each is given and gives back of the sequences in it.

Axes: B sequences, T new tokens, D width, R drafts, V vocabulary, W words of 32 bits for a vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Int

from .architecture import DecoderConfig
from .cached_attention import LayerCaches
from .decoder import Decoder
from .head_groups import CacheKind, head_groups
from .sampling import choose, together
from .sequence_caches import Block, Groups, empty_caches, read_block, settled, write_block
from .sharding import split_heads, traced_over, whole

VERIFIED_ROWS = 8
"""New tokens of a step that checks drafts: the newest token and seven drafts."""


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

        def verify(weights, progress, drafts_R, start, count, choice):
            network = merged(weights)
            tokens_T = jnp.concatenate([progress.token[None], drafts_R])
            x_BTD, (made,) = run(network, [progress], tokens_T[None], start[None])
            seen_V, seen = progress.seen, []
            for token in tokens_T:
                seen_V = seen_V.at[token].set(True)
                seen.append(seen_V)
            seen_TV, positions_T = jnp.stack(seen), start + 1 + jnp.arange(len(tokens_T))
            chosen_T = choose(network.logits(x_BTD[0]), seen_TV, choice, positions_T)
            right_R = (chosen_T[:-1] == drafts_R) & (jnp.arange(len(drafts_R)) < count)
            accepted = jnp.sum(jnp.cumprod(right_R))
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
