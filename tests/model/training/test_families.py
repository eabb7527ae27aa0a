"""Training runs every dense family as decoding does, and writes it as a model that transformers reads."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.errors import UnsupportedCheckpoint
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint
from capibara.model.training.decoder_files import write_decoder
from capibara.model.training.decoder_objective import DecoderObjective, init_decoder
from capibara.model.training.lora import LoraOptions
from capibara.model.training.stacked_decoder import Run

from ..tiny_families import DENSE, MIXTURES, logits_of, random_tokens, saved

KEY = jax.random.key(0)
EXACT = Run(compute=jnp.float32)
TOKENS = random_tokens(80)
PLAIN = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}}
# Positions that a model which is written cannot have.
SIMPLER = dict.fromkeys(("llama", "qwen2", "phi3"), PLAIN)
# Of five layers in periods of two, one is left over.
LONGER = {
    "gemma3": {
        "num_hidden_layers": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
    }
}


def every_place(tokens: list[int]) -> dict[str, np.ndarray]:
    row_T = np.array([tokens], np.int32)
    return {"tokens_BT": row_T, "targets_BA": np.roll(row_T, -1), "positions_BA": np.arange(len(tokens))[None]}


@pytest.mark.parametrize("family", [family for family in DENSE if family != "gemma"])
def test_fresh_factors_leave_the_logits_of_transformers(tmp_path, family):
    model = saved(family, tmp_path, **LONGER.get(family, {}))
    lora, base = LoraOptions(rank=2), SafetensorsCheckpoint(tmp_path)
    factors, frozen = init_decoder(base, lora, KEY, EXACT)
    objective = DecoderObjective(base.config, lora, EXACT)
    ours = jax.jit(objective.target_logits)(factors, frozen, every_place(TOKENS))[0]
    assert np.abs(np.asarray(ours) - model.logits(TOKENS)).max() <= 1e-4


def test_layers_of_two_kinds_give_the_same_gradients_however_they_are_run(tmp_path):
    """Looped over in periods, or one after the other; kept, or computed again."""
    saved("gemma3", tmp_path, **LONGER["gemma3"])
    lora, base, batch = LoraOptions(rank=2), SafetensorsCheckpoint(tmp_path), every_place(TOKENS)
    batch["weights_BA"] = np.ones_like(batch["targets_BA"], np.float32)
    factors, frozen = init_decoder(base, lora, KEY, EXACT)
    moved = jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(KEY, leaf.shape), factors)

    def gradients(run: Run):
        objective = DecoderObjective(base.config, lora, run)
        return jax.jit(jax.grad(lambda factors: objective.loss(factors, frozen, batch, KEY)[0]))(moved)

    looped, unrolled = gradients(Run(jnp.float32, remat=True)), gradients(Run(jnp.float32, scan=False))
    for mine, other in zip(jax.tree.leaves(looped), jax.tree.leaves(unrolled), strict=True):
        assert float(np.abs(other).max()) > 0
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-4 * float(np.abs(other).max()))


@pytest.mark.parametrize("family", DENSE)
def test_a_whole_model_that_is_written_is_to_transformers_the_one_that_was_read(tmp_path, tiny, family):
    import torch
    from transformers import AutoModelForCausalLM

    model = saved(family, tmp_path / "read", **SIMPLER.get(family, {}))
    base = SafetensorsCheckpoint(tmp_path / "read")
    tokenizer = tiny.tokenizer()
    tokenizer.backend.save(str(tmp_path / "read" / "tokenizer.json"))
    write_decoder(tmp_path / "written", init_decoder(base, None, KEY)[0], base, np.float32)
    written = AutoModelForCausalLM.from_pretrained(
        tmp_path / "written", dtype=torch.float32, attn_implementation="eager"
    )
    assert np.abs(logits_of(written, TOKENS) - model.logits(TOKENS)).max() <= 2e-5
    assert SafetensorsCheckpoint(tmp_path / "written").config.layer_kinds == base.config.layer_kinds


def test_phi3_is_written_as_the_mistral_it_is_when_nothing_is_fused(tmp_path, tiny):
    saved("phi3", tmp_path / "read", **PLAIN)
    tiny.tokenizer().backend.save(str(tmp_path / "read" / "tokenizer.json"))
    base = SafetensorsCheckpoint(tmp_path / "read")
    write_decoder(tmp_path / "written", init_decoder(base, None, KEY)[0], base)
    assert json.loads((tmp_path / "written" / "config.json").read_text())["model_type"] == "mistral"


@pytest.mark.parametrize(("family", "named"), [("qwen2", "scaled in a way"), ("phi3", "cannot be written")])
def test_full_training_of_what_could_not_be_written_is_refused_before_it_begins(tmp_path, family, named):
    saved(family, tmp_path)
    with pytest.raises(UnsupportedCheckpoint, match=f"{named}.*train an adapter instead"):
        init_decoder(SafetensorsCheckpoint(tmp_path), None, KEY)


@pytest.mark.parametrize("lora", [LoraOptions(rank=2), None], ids=["adapter", "whole"])
@pytest.mark.parametrize("family", MIXTURES)
def test_mixtures_of_experts_are_refused_by_name(tmp_path, family, lora):
    saved(family, tmp_path / family)
    with pytest.raises(UnsupportedCheckpoint, match=f"{family} is a mixture of experts, which cannot be trained"):
        init_decoder(SafetensorsCheckpoint(tmp_path / family), lora, KEY)
