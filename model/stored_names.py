"""Where a checkpoint keeps what is called by the names of Hugging Face's Llama: other names, parts of tensors."""

from __future__ import annotations

import re
from typing import NamedTuple

from .architecture import DecoderConfig

_IN_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_EXPERT = re.compile(r"mlp\.experts\.(\d+)\.(\w+)")

_MIXTRAL = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_GGUF_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_GGUF_INNER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


class Stored(NamedTuple):
    """A tensor of the file and, where that holds more than what is asked for, the part of it.

    ``rows`` begin and end along the first axis; ``expert`` is a place on it, whose axis then goes.
    """

    tensor: str
    rows: tuple[int, int] | None = None
    expert: int | None = None


def in_hub(name: str, config: DecoderConfig, family: str, *, fused: bool) -> Stored:
    """In a Hugging Face folder. ``fused``: queries, keys and values stand in one tensor, so do gate and value."""
    match = _IN_LAYER.fullmatch(name)
    if match is None:
        return Stored(name)
    layer, module, kind = match.groups()
    module, rows = _in_fused(module, config) if fused else (module, None)
    if family == "mixtral" and module.startswith("mlp."):
        if expert := _EXPERT.fullmatch(module):
            module = f"mlp.experts.{expert[1]}.{_MIXTRAL[expert[2]]}"
        module = module.replace("mlp.", "block_sparse_moe.", 1)
    return Stored(f"model.layers.{layer}.{module}.{kind}", rows)


def in_gguf(name: str, config: DecoderConfig, *, fused: bool) -> Stored:
    """In a GGUF file."""
    match = _IN_LAYER.fullmatch(name)
    if match is None:
        stem, _, kind = name.rpartition(".")
        return Stored(f"{_GGUF_OUTER[stem]}.{kind}")
    layer, module, kind = match.groups()
    if expert := _EXPERT.fullmatch(module):
        stored = _GGUF_INNER[f"mlp.{expert[2]}"]
        return Stored(f"blk.{layer}.{stored}_exps.{kind}", expert=int(expert[1]))
    if config.post_norms and module == "post_attention_layernorm":
        return Stored(f"blk.{layer}.post_attention_norm.{kind}")
    module, rows = _in_fused(module, config) if fused else (module, None)
    return Stored(f"blk.{layer}.{_GGUF_INNER[module]}.{kind}", rows)


def _in_fused(module: str, config: DecoderConfig) -> tuple[str, tuple[int, int] | None]:
    queries, keys, F = config.heads * config.head_width, config.kv_heads * config.head_width, config.hidden_width
    return {
        "self_attn.q_proj": ("self_attn.qkv_proj", (0, queries)),
        "self_attn.k_proj": ("self_attn.qkv_proj", (queries, queries + keys)),
        "self_attn.v_proj": ("self_attn.qkv_proj", (queries + keys, queries + 2 * keys)),
        "mlp.gate_proj": ("mlp.gate_up_proj", (0, F)),
        "mlp.up_proj": ("mlp.gate_up_proj", (F, 2 * F)),
    }.get(module, (module, None))
