"""The one description of a decoder network, whatever its family: sizes, layers, positions, numerical constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .errors import UnsupportedCheckpoint

Activation = Literal["silu", "gelu_tanh"]
_MOST_LAYERS = 1024


class Rotary(NamedTuple):
    """How queries and keys are turned by their position.

    ``frequencies`` are in radians per position, one for each pair of a head's first dimensions (half-split pairs: i
    and i + their number); the dimensions after these are not turned. Cosines and sines are multiplied by ``factor``.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0


class StreamingHeads(NamedTuple):
    """Key heads of a layer that see no more than the first ``sinks`` tokens and the newest ``window``, a token itself
    the last of these (DuoAttention: Xiao et al., 2410.10819)."""

    heads: tuple[int, ...]
    sinks: int
    window: int


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What the layers of one network may differ in.

    Attributes:
        window: how many tokens one sees, itself the last of them; None: all before it.
        positions: which of the network's rotary positions turn it: ``global``, ``local``, or ``none``.
        experts: its feed-forward is a mixture of experts.
        streaming: those of its key heads that see less than the others; not in layers with a window.
    """

    window: int | None = None
    positions: Literal["global", "local", "none"] = "global"
    experts: bool = False
    streaming: StreamingHeads | None = None


@dataclass(frozen=True, slots=True)
class ExpertsConfig:
    """Mixtures of experts: how many there are in a layer and how many a token uses.

    ``hidden_width`` is that of one expert. ``renormalise``: the weights of those used sum to 1.
    """

    count: int
    used: int
    hidden_width: int
    renormalise: bool


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A decoder that is pre-normed by RMS, with rotary positions, grouped queries and a gated feed-forward.

    Attributes:
        rope_frequencies: of ``global`` positions, see `Rotary`; ``rope_factor`` is their factor.
        local_frequencies: of ``local`` positions.
        layer_kinds: one for each layer; left out: all are plain.
        attention_bias: queries, keys and values have a bias; ``output_bias``: so has what attention gives.
        query_norm: queries and keys are normed, head by head, before they are turned.
        post_norms: attention and feed-forward are normed once more before they are added.
        query_scale: what scores are multiplied by; None: one over the root of the head's width.
        score_cap, logit_cap: soft bounds of attention scores and of logits: cap · tanh(x / cap).
        embedding_scale: what embeddings are multiplied by on their way in.
        experts: of the layers that have such.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden_width: int
    context_tokens: int
    norm_epsilon: float
    rope_frequencies: tuple[float, ...]
    tied_head: bool
    rope_factor: float = 1.0
    local_frequencies: tuple[float, ...] | None = None
    layer_kinds: tuple[LayerKind, ...] = ()
    attention_bias: bool = False
    output_bias: bool = False
    query_norm: bool = False
    post_norms: bool = False
    activation: Activation = "silu"
    query_scale: float | None = None
    score_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    experts: ExpertsConfig | None = None

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "layers", "heads", "kv_heads", "head_width", "hidden_width", "context_tokens")
        for name in sizes:
            if getattr(self, name) < 1:
                raise UnsupportedCheckpoint(f"{name} is {getattr(self, name)}; it must be positive")
        if self.heads % self.kv_heads:
            raise UnsupportedCheckpoint(f"{self.heads} query heads cannot share {self.kv_heads} key heads evenly")
        self._check_layers()
        self._check_positions()

    def rotary(self, kind: LayerKind) -> Rotary | None:
        """What turns layers of ``kind``; None: nothing does."""
        if kind.positions == "local":
            return Rotary(self.local_frequencies or ())
        return Rotary(self.rope_frequencies, self.rope_factor) if kind.positions == "global" else None

    @property
    def score_scale(self) -> float:
        return self.head_width**-0.5 if self.query_scale is None else self.query_scale

    def _check_layers(self) -> None:
        if self.layers > _MOST_LAYERS:
            raise UnsupportedCheckpoint(f"layers is {self.layers}; at most {_MOST_LAYERS} are supported")
        # A frozen value completes itself here, so that equal networks have equal descriptions.
        object.__setattr__(self, "layer_kinds", self.layer_kinds or (LayerKind(),) * self.layers)
        if len(self.layer_kinds) != self.layers:
            raise UnsupportedCheckpoint(f"{len(self.layer_kinds)} layers are described; there are {self.layers}")
        if any(kind.window is not None and kind.window < 1 for kind in self.layer_kinds):
            raise UnsupportedCheckpoint("an attention window is below 1 token")
        if (used := any(kind.experts for kind in self.layer_kinds)) and self.experts is None:
            raise UnsupportedCheckpoint("layers are mixtures of experts, of which nothing is said")
        if used and self.experts and not 1 <= self.experts.used <= self.experts.count:
            raise UnsupportedCheckpoint(f"tokens cannot use {self.experts.used} of {self.experts.count} experts")

    def _check_positions(self) -> None:
        for frequencies in (self.rope_frequencies, self.local_frequencies or ()):
            if 2 * len(frequencies) > self.head_width:
                raise UnsupportedCheckpoint(
                    f"rotary positions cannot turn {2 * len(frequencies)} of a head's {self.head_width} dimensions"
                )
        if self.local_frequencies is None and any(kind.positions == "local" for kind in self.layer_kinds):
            raise UnsupportedCheckpoint("layers have local rotary positions, of which nothing is said")
