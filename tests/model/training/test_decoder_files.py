"""What was trained of a decoder, written and read again: by this project, and by transformers and PEFT."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.adapter_files import read_adapter
from capibara.model.adapter_source import read_fitting
from capibara.model.errors import AdapterMismatch, UnsupportedCheckpoint
from capibara.model.rotary import rope_frequencies
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint
from capibara.model.training.decoder_files import write_decoder, write_decoder_adapter
from capibara.model.training.decoder_objective import DecoderObjective, init_decoder
from capibara.model.training.errors import TrainingError
from capibara.model.training.lora import LoraOptions
from capibara.model.training.stacked_decoder import Run
from capibara.model.training.written_config import config_json

KEY = jax.random.key(0)
EXACT = Run(compute=jnp.float32)
TOKENS = np.random.default_rng(0).integers(0, 260, (1, 40)).astype(np.int32)


@pytest.fixture(scope="module")
def base(tiny):
    config = tiny.config(4, 2)
    return tiny.checkpoint(config, tiny.tensors(config, seed=1))


def trained_factors(base, lora):
    factors, frozen = init_decoder(base, lora, KEY, EXACT)
    leaves, tree = jax.tree.flatten(factors)
    keys = jax.random.split(KEY, len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved), frozen


def logits(objective, trainable, frozen):
    """At every place."""
    batch = {"tokens_BT": TOKENS, "targets_BA": TOKENS, "positions_BA": np.arange(TOKENS.shape[1])[None]}
    return np.asarray(objective.target_logits(trainable, frozen, batch))[0]


@pytest.mark.parametrize("targets", [LoraOptions().targets, ("q_proj", "down_proj")], ids=["all", "two"])
def test_transformers_with_peft_gives_the_logits_of_the_adapter_as_written(tmp_path, base, targets):
    peft = pytest.importorskip("peft", reason="PEFT, the reference, is not installed: pip install 'capibara[dev]'")
    import torch
    from transformers import LlamaForCausalLM

    lora = LoraOptions(rank=4, alpha=12.0, targets=targets)
    factors, frozen = trained_factors(base, lora)
    write_decoder(tmp_path / "base", init_decoder(base, None, KEY)[0], base, np.float32)
    write_decoder_adapter(tmp_path / "adapter", factors, lora, base)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(TOKENS).long()).logits[0].numpy()
    as_written = jax.tree.map(jnp.asarray, dict(read_adapter(tmp_path / "adapter").factors))
    ours = logits(DecoderObjective(base.config, lora, EXACT), as_written, frozen)
    assert np.abs(ours - expected).max() <= 1e-4
    plain = logits(DecoderObjective(base.config, None, EXACT), init_decoder(base, None, KEY)[0], None)
    assert np.abs(ours - plain).max() > 0.1


def test_checksums_of_an_older_adapter_do_not_stay_beside_new_weights(tmp_path, base):
    (tmp_path / "SHA256SUMS").write_text("0  adapter_model.safetensors\n")
    lora = LoraOptions(rank=4)
    write_decoder_adapter(tmp_path, trained_factors(base, lora)[0], lora, base)
    assert read_fitting(tmp_path, base).rank == 4


def test_a_written_adapter_fits_its_base_and_no_other(tmp_path, base, tiny):
    lora = LoraOptions(rank=4)
    write_decoder_adapter(tmp_path, trained_factors(base, lora)[0], lora, base)
    assert read_fitting(tmp_path, base).rank == 4
    other = tiny.config(4, 4)
    with pytest.raises(AdapterMismatch, match="does not fit other"):
        read_fitting(tmp_path, tiny.checkpoint(other, tiny.tensors(other), name="other"))


@pytest.mark.parametrize("tied", [True, False])
def test_a_written_model_is_a_checkpoint_with_the_same_everything(tmp_path, tiny, tied):
    config = tiny.config(4, 2, tied=tied)
    base = tiny.checkpoint(config, tiny.tensors(config))
    write_decoder(tmp_path, init_decoder(base, None, KEY)[0], base, np.float32)
    read = SafetensorsCheckpoint(tmp_path)
    assert dataclasses.replace(read.config, rope_frequencies=config.rope_frequencies) == config
    np.testing.assert_allclose(read.config.rope_frequencies, config.rope_frequencies, rtol=1e-12)
    for name, values in base.tensors.items():
        np.testing.assert_array_equal(read.tensor(name), values)
    messages = [{"role": "user", "content": "Hello, ñandú."}]
    assert read.tokenizer().render(messages) == base.tokenizer().render(messages)
    assert read.tokenizer().encode("Hello <|end|>") == base.tokenizer().encode("Hello <|end|>")
    assert read.tokenizer().end_tokens == base.tokenizer().end_tokens


def test_a_written_model_is_in_float16_unless_told_otherwise(tmp_path, base):
    write_decoder(tmp_path, init_decoder(base, None, KEY)[0], base)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    name = "model.layers.0.mlp.up_proj.weight"
    np.testing.assert_allclose(SafetensorsCheckpoint(tmp_path).tensor(name), base.tensor(name), rtol=1e-3, atol=1e-6)


def test_a_weight_beyond_float16_is_refused_by_name_and_nothing_is_written(tmp_path, base):
    weights = dict(init_decoder(base, None, KEY)[0])
    weights["model.norm.weight"] = weights["model.norm.weight"].at[3].set(1e9)
    with pytest.raises(TrainingError, match=r"model\.norm\.weight has values that are not finite in float16"):
        write_decoder(tmp_path / "m", weights, base)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("scaling", "written"),
    [
        (None, {"rope_theta": 500000.0, "rope_type": "default"}),
        ({"rope_type": "linear", "factor": 4.0}, {"rope_theta": 500000.0, "rope_type": "linear", "factor": 4.0}),
    ],
)
def test_rotary_positions_are_written_as_base_and_scaling(base, scaling, written):
    config = dataclasses.replace(base.config, rope_frequencies=rope_frequencies(500000.0, 8, scaling))
    assert config_json(config)["rope_parameters"] == written


def test_full_training_of_a_model_that_could_not_be_written_is_refused_before_it_begins(base):
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = dataclasses.replace(base.config, rope_frequencies=rope_frequencies(10000.0, 8, scaling))
    with pytest.raises(UnsupportedCheckpoint, match="train an adapter instead"):
        init_decoder(dataclasses.replace(base, config=config), None, KEY)
