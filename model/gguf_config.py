"""From the metadata of a GGUF file to the description of its decoder.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What the files leave unsaid, llama.cpp has in its code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .architecture import DecoderConfig, ExpertsConfig, LayerKind
from .errors import CheckpointError, UnsupportedCheckpoint
from .families import FAMILIES, Family
from .gguf import GgufFile
from .rotary import attention_factor, rope_frequencies

ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "llama": "llama",
        "smollm3": "smollm3",
        "qwen2": "qwen2",
        "qwen3": "qwen3",
        "qwen3moe": "qwen3_moe",
        "gemma": "gemma",
        "gemma2": "gemma2",
        "gemma3": "gemma3_text",
        "phi3": "phi3",
    }
)
"""What GGUF calls each family. Mistral and Mixtral are written as ``llama``."""

_SCALED_BY_WIDTH = {"gemma2": 46, "gemma3": 62}
"""Layers of the members (27B) whose queries are scaled by the network's width over its heads, not by the heads' own."""
_WIDEST_HEAD = 1 << 16
_CAPS = {"gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}}


def family_name(file: GgufFile) -> str:
    """
    Raises:
        UnsupportedCheckpoint: an architecture that is not run here; names those that are.
    """
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        *others, last = ARCHITECTURES
        raise UnsupportedCheckpoint(
            f"architecture {architecture!r} is not supported ({', '.join(others)} and {last} are)"
        )
    return ARCHITECTURES[architecture]


def read_config(file: GgufFile) -> DecoderConfig:
    """
    Raises:
        CheckpointError: something is missing or is no number.
        UnsupportedCheckpoint: another architecture or feature, by name.
    """
    family = FAMILIES[family_name(file)]
    about = _About(file)
    if "token_embd.weight" not in file.tensors:
        raise CheckpointError("tensor token_embd.weight is missing")
    table = file.tensors["token_embd.weight"].shape
    if len(table) != 2:
        raise CheckpointError(f"damaged: tensor token_embd.weight has {len(table)} dimensions; it should have 2")
    heads, width, layers = about.whole("attention.head_count"), about.whole("embedding_length"), about.layers
    head_width = about.whole("attention.key_length", width // heads if heads else 0)
    context, scaling = about.whole("context_length"), about.scaling()
    if scaling.get("rope_type") == "longrope":
        context = min(context, scaling["original_max_position_embeddings"])
    turned = about.whole("rope.dimension_count", head_width)
    if max(head_width, turned) > _WIDEST_HEAD:  # before a frequency is made for each pair
        raise CheckpointError(f"damaged: heads of {head_width} values, {turned} of which are turned")
    plain = rope_frequencies(about.number("rope.freq_base", family.rope_base), turned, scaling)
    experts = about.experts()
    scaled_by = width // heads if heads and _SCALED_BY_WIDTH.get(about.architecture) == layers else head_width
    caps = _CAPS.get(about.architecture, {})
    return DecoderConfig(
        vocabulary=table[0],
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=about.whole("attention.head_count_kv", heads),
        head_width=head_width,
        hidden_width=about.whole("feed_forward_length"),
        context_tokens=context,
        norm_epsilon=about.number("attention.layer_norm_rms_epsilon"),
        rope_frequencies=about.with_factors(plain),
        rope_factor=attention_factor(scaling, about.whole("context_length")),
        local_frequencies=about.local_frequencies(family, turned),
        tied_head="output.weight" not in file.tensors,
        layer_kinds=tuple(about.layer_kinds(family, context, experts is not None)),
        attention_bias="blk.0.attn_q.bias" in file.tensors or family.attention_bias,
        output_bias="blk.0.attn_output.bias" in file.tensors,
        query_norm=family.query_norm,
        post_norms=family.post_norms,
        activation=family.activation,
        query_scale=None if scaled_by == head_width else scaled_by**-0.5,
        score_cap=about.number("attn_logit_softcapping", caps.get("attn_logit_softcapping", 0.0)) or None,
        logit_cap=about.number("final_logit_softcapping", caps.get("final_logit_softcapping", 0.0)) or None,
        embedding_scale=math.sqrt(width) if family.embedding_scaled else 1.0,
        experts=experts,
    )


class _About:
    """The metadata of one file under its architecture's name."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.architecture: str = file.metadata["general.architecture"]

    def number(self, key: str, default: float | None = None) -> float:
        value = self._file.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise CheckpointError(f"damaged: {self.architecture}.{key} is {'missing' if value is None else value}")
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.number(key, default)
        if value != int(value):
            raise CheckpointError(f"damaged: {self.architecture}.{key} is {value}")
        return int(value)

    @property
    def layers(self) -> int:
        layers = self.whole("block_count")
        if layers > len(self._file.tensors):
            raise CheckpointError(f"damaged: {layers} layers in {len(self._file.tensors)} tensors")
        return layers

    def scaling(self) -> dict[str, Any]:
        """As Hugging Face's configurations have it."""
        kind = self._file.metadata.get(f"{self.architecture}.rope.scaling.type", "none")
        found: dict[str, Any] = {"rope_type": str(kind)}
        if short := self._values("rope_factors_short.weight"):
            found |= {"rope_type": "longrope", "short_factor": short}
        if found["rope_type"] in ("linear", "yarn"):
            found["factor"] = self.number("rope.scaling.factor", 1.0)
        if found["rope_type"] in ("yarn", "longrope"):
            original = self.whole("rope.scaling.original_context_length", self.whole("context_length"))
            found["original_max_position_embeddings"] = original
        if short and f"{self.architecture}.rope.scaling.attn_factor" in self._file.metadata:
            found["attention_factor"] = self.number("rope.scaling.attn_factor")
        return found

    def with_factors(self, frequencies: tuple[float, ...]) -> tuple[float, ...]:
        """Converters of Llama 3.1 and later store what each frequency is divided by."""
        factors = self._values("rope_freqs.weight")
        if not factors:
            return frequencies
        if len(factors) != len(frequencies) or not all(factors):
            raise CheckpointError(f"damaged: rope_freqs.weight has {len(factors)} factors for {len(frequencies)} pairs")
        return tuple(frequency / factor for frequency, factor in zip(frequencies, factors, strict=True))

    def local_frequencies(self, family: Family, turned: int) -> tuple[float, ...] | None:
        if family.local_rope_base is None:
            return None
        return rope_frequencies(self.number("rope.freq_base_swa", family.local_rope_base), turned)

    def layer_kinds(self, family: Family, context: int, experts: bool) -> list[LayerKind]:
        window = self.whole("attention.sliding_window", family.window if family.windows == "named" else 0)
        found = []
        for index, sliding in enumerate(self._sliding(family)):
            unturned = family.unturned_period and (index + 1) % family.unturned_period == 0
            local = sliding and family.local_rope_base is not None
            found.append(
                LayerKind(
                    window=window if sliding and 0 < window < context else None,
                    positions="none" if unturned else "local" if local else "global",
                    experts=experts,
                )
            )
        return found

    def _sliding(self, family: Family) -> list[bool]:
        """Which layers have the window, where there is one."""
        each = self._file.metadata.get(f"{self.architecture}.attention.sliding_window_pattern")
        if isinstance(each, list):
            if len(each) < self.layers:
                raise CheckpointError(f"damaged: {len(each)} of {self.layers} layers have a kind of window")
            return [bool(sliding) for sliding in each[: self.layers]]
        period = self.whole("attention.sliding_window_pattern", family.window_period)
        return [not period or (index + 1) % period != 0 for index in range(self.layers)]

    def experts(self) -> ExpertsConfig | None:
        count = self.whole("expert_count", 0)
        if not count:
            return None
        inner = self.whole("expert_feed_forward_length", self.whole("feed_forward_length"))
        renormalise = self._file.metadata.get(f"{self.architecture}.expert_weights_norm", True)
        return ExpertsConfig(count, self.whole("expert_used_count"), inner, bool(renormalise))

    def _values(self, tensor: str) -> list[float]:
        """A tensor's numbers, none where it is not there."""
        entry = self._file.tensors.get(tensor)
        if entry is None:
            return []
        return np.ravel(entry.type.dequantise(self._file.raw(tensor), entry.shape)).tolist()
