"""Which matrices a decoder network has, and which modules of a checkpoint each is stacked from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .architecture import DecoderConfig


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of the network, [rows, columns], and the checkpoint's modules it is stacked from, with their rows."""

    name: str
    parts: Mapping[str, int]
    columns: int

    @property
    def rows(self) -> int:
        return sum(self.parts.values())


def module_shapes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """[outputs, inputs] of each product of the network, by its module's name in the checkpoint: what can be adapted."""
    return {
        part: (rows, matrix.columns)
        for matrix in matrices(config)
        if matrix.name != "embedding"
        for part, rows in matrix.parts.items()
    }


def matrices(config: DecoderConfig) -> Iterator[Matrix]:
    """Each matrix of a network of this shape."""
    D, F, vocabulary = config.width, config.hidden_width, config.vocabulary
    queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
    yield Matrix("embedding", {"model.embed_tokens": vocabulary}, D)
    if not config.tied_head:
        yield Matrix("head", {"lm_head": vocabulary}, D)
    for index in range(config.layers):
        at, source = f"layers.{index}", f"model.layers.{index}"
        attention, feed = f"{source}.self_attn", f"{source}.mlp"
        three = {f"{attention}.q_proj": queries, f"{attention}.k_proj": keys, f"{attention}.v_proj": keys}
        yield Matrix(f"{at}.attention.inputs", three, D)
        yield Matrix(f"{at}.attention.output", {f"{attention}.o_proj": D}, queries)
        yield Matrix(f"{at}.feed.inputs", {f"{feed}.gate_proj": F, f"{feed}.up_proj": F}, D)
        yield Matrix(f"{at}.feed.output", {f"{feed}.down_proj": D}, F)
