"""Mixtures of experts against their formula, token by token, and their statistics against those of transformers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.architecture import ExpertsConfig
from capibara.model.experts import Experts, load_balance
from capibara.model.linear import Linear
from capibara.model.matrices import module_shapes
from capibara.model.safetensors_checkpoint import SafetensorsCheckpoint
from capibara.model.weights import build, pack

from .tiny_families import random_tokens, saved


def one_after_the_other(experts: Experts, x_RD: np.ndarray) -> np.ndarray:
    """The mixture as its formula says, token by token."""
    config, D = experts.config, x_RD.shape[1]
    inputs = np.asarray(experts.inputs.weight[...]).reshape(config.count, 2 * config.hidden_width, D)
    outputs = np.asarray(experts.output.weight[...]).reshape(config.count, D, config.hidden_width)
    made = np.zeros_like(x_RD)
    for row, x_D in enumerate(x_RD):
        scores_E = np.asarray(experts.router.weight[...]) @ x_D
        probs_E = np.exp(scores_E - scores_E.max()) / np.exp(scores_E - scores_E.max()).sum()
        used = np.argsort(-probs_E)[: config.used]
        total = probs_E[used].sum() if config.renormalise else 1.0
        for expert in used:
            gate_F, value_F = np.split(inputs[expert] @ x_D, 2)
            made[row] += probs_E[expert] / total * (outputs[expert] @ (gate_F / (1 + np.exp(-gate_F)) * value_F))
    return made


def experts_of(config: ExpertsConfig, width: int = 16, seed: int = 0) -> Experts:
    rng = np.random.default_rng(seed)
    shapes = [
        (config.count, width),
        (config.count * 2 * config.hidden_width, width),
        (config.count * width, config.hidden_width),
    ]
    return Experts(config, *(Linear(rng.normal(0, 0.5, shape).astype(np.float32)) for shape in shapes))


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize(
    "config",
    [ExpertsConfig(4, 2, 24, True), ExpertsConfig(16, 3, 8, False), ExpertsConfig(3, 3, 8, False)],
    ids=["renormalised", "many", "all-used"],
)
def test_a_mixture_is_the_sum_over_the_experts_that_each_token_chose(config, rows):
    experts = experts_of(config)
    x_RD = np.random.default_rng(rows).normal(0, 1, (rows, 16)).astype(np.float32)
    ours = np.asarray(experts(jnp.asarray(x_RD)[None]))[0]
    np.testing.assert_allclose(ours, one_after_the_other(experts, x_RD), rtol=0, atol=2e-5)


def test_one_expert_may_be_chosen_by_every_token():
    """Tiles are of the size that even use would need; uneven use takes more of them."""
    experts = experts_of(ExpertsConfig(8, 1, 8, True))
    experts.router = Linear(np.eye(8, 16, dtype=np.float32) * 9)
    x_RD = np.abs(np.random.default_rng(0).normal(0, 1, (50, 16))).astype(np.float32)
    x_RD[:, 3] += 9
    assert set(np.asarray(experts.routing(jnp.asarray(x_RD)).experts).ravel()) == {3}
    ours = np.asarray(experts(jnp.asarray(x_RD)[None]))[0]
    np.testing.assert_allclose(ours, one_after_the_other(experts, x_RD), rtol=1e-5, atol=1e-4)


def test_load_balance_is_that_of_transformers(tmp_path):
    import torch
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    model, tokens = saved("qwen3_moe", tmp_path), random_tokens(40)
    checkpoint = SafetensorsCheckpoint(tmp_path)
    with torch.no_grad():
        routers = model.oracle(torch.tensor([tokens]), output_router_logits=True).router_logits
    experts = checkpoint.config.experts
    assert experts is not None
    expected = load_balancing_loss_func(routers, experts.count, experts.used)
    routings = build(checkpoint.config, pack(checkpoint, "float32")).routings(jnp.asarray([tokens]))
    balance = load_balance(routings)
    assert len(routings) == 2  # of three layers one has no experts
    assert float(balance.loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(balance.shares.sum()) == pytest.approx(1.0)
    assert float(balance.probs.sum()) == pytest.approx(1.0)


def test_experts_and_routers_cannot_be_adapted(tmp_path):
    saved("qwen3_moe", tmp_path)
    shapes = module_shapes(SafetensorsCheckpoint(tmp_path).config)
    assert {name.split(".", 3)[3] for name in shapes if ".layers.0." in name} == {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    }  # fmt: skip
    assert "model.layers.1.mlp.gate_proj" in shapes
