"""Hugging Face folders: weights in one file or in shards, tokenizer, template, and what is wrong with bad ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from capibara.config.schema import ModelSettings
from capibara.model import CheckpointError, ModelNotFound, Sampling, UnsupportedCheckpoint, open_model
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint


def write_folder(folder, tiny, *, shards: int = 1, tied: bool = True, **changes):
    """A checkpoint as ``save_pretrained`` lays it out."""
    config = tiny.config(tied=tied)
    tensors = tiny.tensors(config)
    folder.mkdir(parents=True)
    options = {
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(options))
    tokenizer = tiny.tokenizer()
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    markers = {"eos_token": {"content": "<|end|>"}, "chat_template": tokenizer.template.source}
    (folder / "tokenizer_config.json").write_text(json.dumps(markers))
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return config, tensors
    placed = {name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, name in enumerate(names)}
    for file in set(placed.values()):
        save_file({name: tensors[name] for name in names if placed[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return config, tensors


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_comes_back_with_its_configuration_and_weights(tmp_path, tiny, shards, tied):
    config, tensors = write_folder(tmp_path / "m", tiny, shards=shards, tied=tied)
    checkpoint = SafetensorsCheckpoint(tmp_path / "m")
    assert checkpoint.config == config
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), values)


def test_a_folder_generates_what_its_weights_generate_in_memory(tmp_path, tiny):
    config, tensors = write_folder(tmp_path / "m", tiny)
    settings = ModelSettings(path=str(tmp_path / "m"), compute="float32")
    from_folder = open_model(settings, cache=tmp_path / "cache").generate("hello", Sampling(max_tokens=9))
    assert from_folder.text == tiny.model(config, tensors).generate("hello", Sampling(max_tokens=9)).text


def test_half_precision_weights_become_float32(tmp_path, tiny):
    import ml_dtypes

    _, tensors = write_folder(tmp_path / "m", tiny)
    halved = {name: values.astype(ml_dtypes.bfloat16) for name, values in tensors.items()}
    save_file(halved, tmp_path / "m" / "model.safetensors")
    weight = SafetensorsCheckpoint(tmp_path / "m").tensor("model.norm.weight")
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, halved["model.norm.weight"].astype(np.float32))


def test_llama3_positions_are_those_of_transformers(tmp_path, tiny):
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    write_folder(tmp_path / "m", tiny, rope_parameters=scaling)
    expected = LlamaRotaryEmbedding(LlamaConfig(head_dim=8, max_position_embeddings=2048, rope_parameters=scaling))
    ours = SafetensorsCheckpoint(tmp_path / "m").config.rope_frequencies
    torch.testing.assert_close(torch.tensor(ours), expected.inv_freq)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"sliding_window": 128}, "sliding"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "dynamic"),
        ({"num_key_value_heads": 3}, "3 key heads"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused_by_name(tmp_path, tiny, changes, named):
    write_folder(tmp_path / "m", tiny, **changes)
    with pytest.raises(UnsupportedCheckpoint, match=named):
        SafetensorsCheckpoint(tmp_path / "m")


def test_a_folder_without_configuration_or_weights_is_no_model(tmp_path, tiny):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        open_model(ModelSettings(path=str(tmp_path / "empty")))
    write_folder(tmp_path / "m", tiny)
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="no weights"):
        open_model(ModelSettings(path=str(tmp_path / "m")))


def test_damaged_files_are_named_in_one_line(tmp_path, tiny):
    for number, file in enumerate(["config.json", "model.safetensors", "tokenizer.json"]):
        folder = tmp_path / str(number)
        write_folder(folder, tiny)
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError) as caught:
            open_model(ModelSettings(path=str(folder))).encode("a")
        assert file in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path, tiny):
    write_folder(tmp_path / "m", tiny, shards=2)
    (tmp_path / "m" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00002"):
        SafetensorsCheckpoint(tmp_path / "m")
