"""Which matrices and vectors a decoder network has, and which modules of a checkpoint each is stacked from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .architecture import DecoderConfig, ExpertsConfig


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of the network, [rows, columns], and the checkpoint's modules it is stacked from, with their rows.

    ``exact``: it is small and sensitive, and stays in float32 whatever the arithmetic of the others.
    """

    name: str
    parts: Mapping[str, int]
    columns: int
    exact: bool = False

    @property
    def rows(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Vector:
    """One norm or bias of the network, and the checkpoint's tensors it is put together from, with their sizes."""

    name: str
    parts: Mapping[str, int]


def module_shapes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """[outputs, inputs] of each product of the network, by its module's name in the checkpoint: what can be adapted.

    Routers and experts cannot.
    """
    return {
        part: (rows, matrix.columns)
        for matrix in matrices(config)
        if matrix.name != "embedding"
        for part, rows in matrix.parts.items()
        if ".mlp.experts." not in part and not part.endswith(".mlp.gate")
    }


def matrices(config: DecoderConfig) -> Iterator[Matrix]:
    """Each matrix of a network of this shape. Those of a layer's experts are stacked into one, expert by expert."""
    D, F, vocabulary = config.width, config.hidden_width, config.vocabulary
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    yield Matrix("embedding", {"model.embed_tokens": vocabulary}, D)
    if not config.tied_head:
        yield Matrix("head", {"lm_head": vocabulary}, D)
    for index, kind in enumerate(config.layer_kinds):
        at, source = f"layers.{index}", f"model.layers.{index}"
        attention, feed = f"{source}.self_attn", f"{source}.mlp"
        three = {f"{attention}.q_proj": queries, f"{attention}.k_proj": keys, f"{attention}.v_proj": keys}
        yield Matrix(f"{at}.attention.inputs", three, D)
        yield Matrix(f"{at}.attention.output", {f"{attention}.o_proj": D}, queries)
        if kind.experts and config.experts:
            yield from _of_experts(config.experts, D, at, feed)
        else:
            yield Matrix(f"{at}.feed.inputs", {f"{feed}.gate_proj": F, f"{feed}.up_proj": F}, D)
            yield Matrix(f"{at}.feed.output", {f"{feed}.down_proj": D}, F)


def _of_experts(experts: ExpertsConfig, width: int, at: str, feed: str) -> Iterator[Matrix]:
    inner, each = experts.hidden_width, [f"{feed}.experts.{index}" for index in range(experts.count)]
    inputs = {f"{expert}.{part}": inner for expert in each for part in ("gate_proj", "up_proj")}
    yield Matrix(f"{at}.feed.router", {f"{feed}.gate": experts.count}, width, exact=True)
    yield Matrix(f"{at}.feed.inputs", inputs, width)
    yield Matrix(f"{at}.feed.output", {f"{expert}.down_proj": width for expert in each}, inner)


def vectors(config: DecoderConfig) -> Iterator[Vector]:
    """Each norm and bias of a network of this shape, by the names that tensors have in Hugging Face's checkpoints."""
    D, H = config.width, config.head_width
    queries, keys = config.heads * H, config.kv_heads * H
    after = "post_attention_layernorm"
    norms = {"attention_norm": "input_layernorm", "feed_norm": after}
    if config.post_norms:
        norms |= {"attention_post_norm": after, "feed_norm": "pre_feedforward_layernorm"}
        norms |= {"feed_post_norm": "post_feedforward_layernorm"}
    yield Vector("norm", {"model.norm.weight": D})
    for index in range(config.layers):
        at, source = f"layers.{index}", f"model.layers.{index}"
        attention = f"{source}.self_attn"
        for name, part in norms.items():
            yield Vector(f"{at}.{name}", {f"{source}.{part}.weight": D})
        if config.query_norm:
            yield Vector(f"{at}.attention.query_norm", {f"{attention}.q_norm.weight": H})
            yield Vector(f"{at}.attention.key_norm", {f"{attention}.k_norm.weight": H})
        if config.attention_bias:
            three = {f"{attention}.q_proj.bias": queries, f"{attention}.k_proj.bias": keys}
            yield Vector(f"{at}.attention.bias", {**three, f"{attention}.v_proj.bias": keys})
        if config.output_bias:
            yield Vector(f"{at}.attention.output_bias", {f"{attention}.o_proj.bias": D})
