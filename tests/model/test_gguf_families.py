"""GGUF files of every family, laid out as llama.cpp's converter does, are read as the folders they were made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from capibara.model import CheckpointError, UnsupportedCheckpoint
from capibara.model.architecture import DecoderConfig
from capibara.model.gguf_checkpoint import GgufCheckpoint
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint
from capibara.model.weights import pack

from .tiny_families import FAMILIES, saved

gguf = pytest.importorskip("gguf")

ARCHITECTURES = {
    "llama": "llama",
    "mixtral": "llama",
    "smollm3": "smollm3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "phi3": "phi3",
}
PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
# What the tiny models of the other tests have and GGUF files of these architectures do not say.
CHANGES = {
    "llama": {"num_hidden_layers": 2},
    "smollm3": {"num_hidden_layers": 4, "no_rope_layer_interval": 4},
    "qwen2": {"use_sliding_window": False},
    "qwen3_moe": {"mlp_only_layers": [], "norm_topk_prob": True},
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3": {"query_pre_attn_scalar": 16, "num_hidden_layers": 7, "layer_types": None},
}


def neighbouring_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def stored_tensors(oracle, architecture: str):
    """Name and values of each tensor, as the converter writes it."""
    config, post_norms = oracle.config, architecture in ("gemma2", "gemma3")
    after = "post_attention_norm" if post_norms else "ffn_norm"
    for name, weight in oracle.state_dict().items():
        values, stem, kind = weight.numpy(), *name.rpartition(".")[::2]
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        if architecture in ("llama", "smollm3") and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = neighbouring_pairs(values, heads)
        if not name.startswith("model.layers."):
            yield f"{OUTER[stem]}.{kind}", values
            continue
        _, _, layer, part = name.split(".", 3)
        if part == "mlp.experts.gate_up_proj":
            gate, up = np.split(values, 2, axis=1)
            yield f"blk.{layer}.ffn_gate_exps.weight", np.ascontiguousarray(gate)
            yield f"blk.{layer}.ffn_up_exps.weight", np.ascontiguousarray(up)
        elif part == "mlp.experts.down_proj":
            yield f"blk.{layer}.ffn_down_exps.weight", values
        else:
            part = part.rpartition(".")[0]
            stored = after if part == "post_attention_layernorm" else PARTS[part]
            yield f"blk.{layer}.{stored}.{kind}", np.ascontiguousarray(values)


def write(path, oracle, architecture: str, **changes):
    """``changes`` are metadata under the architecture's name; None leaves one out."""
    config = oracle.config
    writer = gguf.GGUFWriter(path, architecture)
    rope, tensors = config.rope_parameters, dict(stored_tensors(oracle, architecture))
    whole = rope.get("full_attention", rope)
    about = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": whole["rope_theta"],
    }
    if head_width := getattr(config, "head_dim", None):
        about["attention.key_length"] = head_width
    if architecture in ("gemma2", "gemma3", "phi3"):
        about["attention.sliding_window"] = config.sliding_window
    if architecture == "gemma2":
        about["attn_logit_softcapping"] = config.attn_logit_softcapping
        about["final_logit_softcapping"] = config.final_logit_softcapping
    if experts := getattr(config, "num_local_experts", None):
        about |= {"expert_count": experts, "expert_used_count": config.num_experts_per_tok}
    if inner := getattr(config, "moe_intermediate_size", None):
        about["expert_feed_forward_length"] = inner
    if whole["rope_type"] in ("linear", "yarn"):
        about |= {"rope.scaling.type": whole["rope_type"], "rope.scaling.factor": whole["factor"]}
    if whole["rope_type"] in ("yarn", "longrope"):
        about["rope.scaling.original_context_length"] = whole["original_max_position_embeddings"]
    if whole["rope_type"] == "longrope":
        about["rope.dimension_count"] = 2 * len(whole["short_factor"])
        tensors["rope_factors_short.weight"] = np.array(whole["short_factor"], np.float32)
        tensors["rope_factors_long.weight"] = np.array(whole["long_factor"], np.float32)
    if whole["rope_type"] == "llama3":
        plain = whole["rope_theta"] ** (-np.arange(0, 8, 2) / 8)
        tensors["rope_freqs.weight"] = (plain / oracle.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    for key, value in (about | changes).items():
        if value is not None:
            add = writer.add_string if isinstance(value, str) else writer.add_float32
            (writer.add_uint32 if isinstance(value, int) else add)(f"{architecture}.{key}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rounded(config: DecoderConfig) -> DecoderConfig:
    """What GGUF keeps in float32, with six digits; positions of layers that are not there are forgotten."""

    def digits(values):
        return None if values is None else tuple(float(f"{value:.5g}") for value in values)

    return replace(
        config,
        norm_epsilon=float(f"{config.norm_epsilon:.5g}"),
        rope_frequencies=digits(config.rope_frequencies),
        local_frequencies=digits(config.local_frequencies),
        query_scale=config.score_scale,
    )


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_configuration_and_weights_are_those_of_the_folder(tmp_path, family):
    model = saved(family, tmp_path / "folder", **CHANGES.get(family, {}))
    folder = SafetensorsCheckpoint(model.folder)
    file = GgufCheckpoint(write(tmp_path / "model.gguf", model.oracle, ARCHITECTURES[family]))
    assert rounded(file.config) == rounded(folder.config)
    ours, expected = pack(file, "float32"), pack(folder, "float32")
    assert ours.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-6, atol=1e-6, err_msg=name)


def test_every_family_but_mistral_has_an_architecture_of_its_own_or_that_of_llama():
    """Mistral is written as a Llama, whose files say nothing of windows."""
    assert FAMILIES.keys() - ARCHITECTURES.keys() == {"mistral"}


@pytest.mark.parametrize(("family", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_largest_gemmas_scale_queries_by_the_networks_width(tmp_path, family, layers):
    model = saved(family, tmp_path / "folder", num_hidden_layers=layers, layer_types=None)
    file = GgufCheckpoint(write(tmp_path / "model.gguf", model.oracle, ARCHITECTURES[family]))
    assert file.config.score_scale == pytest.approx((32 / 4) ** -0.5)


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"rope.scaling.type": "ntk", "rope.scaling.factor": 2.0}, UnsupportedCheckpoint, "'ntk' is not supported"),
        ({"rope.dimension_count": 4}, CheckpointError, "4 factors for 2 pairs"),
        ({"rope.dimension_count": 7}, UnsupportedCheckpoint, "cannot turn 7 dimensions in pairs"),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 0.0}, CheckpointError, "damaged"),
        ({"block_count": 1 << 30}, CheckpointError, r"damaged: 1073741824 layers in \d+ tensors"),
        ({"attention.head_count": None}, CheckpointError, r"llama\.attention\.head_count is missing"),
        ({"embedding_length": "wide"}, CheckpointError, r"llama\.embedding_length is wide"),
        ({"expert_count": 4}, CheckpointError, r"llama\.expert_used_count is missing"),
    ],
    ids=str,
)
def test_metadata_that_cannot_be_run_is_named_in_one_line(tmp_path, changes, error, named):
    path = write(tmp_path / "model.gguf", saved("llama", tmp_path / "folder").oracle, "llama", **changes)
    with pytest.raises(error, match=named) as caught:
        GgufCheckpoint(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_llama_files_that_turn_a_part_of_each_head_are_refused(tmp_path):
    """Their rows are reordered over whole heads; which of them would be turned is not known."""
    model = saved("smollm3", tmp_path / "folder")
    path = write(tmp_path / "model.gguf", model.oracle, "smollm3", **{"rope.dimension_count": 4})
    with pytest.raises(UnsupportedCheckpoint, match="a part of each head"):
        GgufCheckpoint(path)


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("mixtral", {"expert_count": 5}, r"mlp\.gate\.weight is \(4, 32\); the configuration asks for \(5, 32\)"),
        ("phi3", {"feed_forward_length": 64}, r"blk\.0\.ffn_up\.weight is \(96, 32\); it should have 128 rows"),
        ("phi3", {"attention.head_count_kv": 4}, r"blk\.0\.attn_qkv\.weight is \(64, 32\); it should have 96 rows"),
    ],
)
def test_tensors_of_another_shape_than_the_metadata_say_are_named(tmp_path, family, changes, named):
    model = saved(family, tmp_path / "folder")
    file = GgufCheckpoint(write(tmp_path / "model.gguf", model.oracle, ARCHITECTURES[family], **changes))
    with pytest.raises(CheckpointError, match=named):
        pack(file, "float32")
