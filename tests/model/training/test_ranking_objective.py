"""The cross-encoder's loss, gradients and figures, and that what is written is what was trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from capibara.model.adapter_files import read_adapter
from capibara.model.encoder import Computation
from capibara.model.encoder_checkpoint import EncoderCheckpoint, EncoderConfig, load_encoder, weight_shapes
from capibara.model.errors import AdapterError
from capibara.model.training.encoder_adapter import (
    ENCODER_TARGETS,
    AdapterWeights,
    adapted,
    init_adapter,
    write_encoder_adapter,
)
from capibara.model.training.errors import InvalidOption
from capibara.model.training.loop import train
from capibara.model.training.lora import LoraOptions
from capibara.model.training.options import TrainingOptions
from capibara.model.training.pair_tokens import PairFormat
from capibara.model.training.ranking_objective import RankingFigures, RankingObjective

CONFIG = EncoderConfig(60, 32, 1, 4, 48, 24, 2, 1e-12)
LORA = LoraOptions(rank=4, alpha=8.0, targets=ENCODER_TARGETS)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def base() -> EncoderCheckpoint:
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(0, 0.3, shape) + (name.endswith("LayerNorm.weight"))).astype(np.float32)
        for name, shape in weight_shapes(CONFIG)
    }
    return EncoderCheckpoint("tiny", CONFIG, weights)


def groups(count: int = 8, candidates: int = 4, length: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "tokens_GCT": rng.integers(1, 60, (count, candidates, length)).astype(np.int32),
        "lengths_GC": rng.integers(4, length + 1, (count, candidates)).astype(np.int32),
        "weights_G": np.ones(count, np.float32),
    }


def away_from_the_start(weights: AdapterWeights) -> AdapterWeights:
    """Every part random, so that no gradient is zero for the reason that its partner is."""
    leaves, tree = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


def written(folder: Path, weights: AdapterWeights, pairs: PairFormat) -> None:
    write_encoder_adapter(folder, weights, LORA, "tiny", pairs, task="SEQ_CLS", head="score")


def objective(how: Computation = Computation(), dropout: float = 0.0) -> RankingObjective:  # noqa: B008
    return RankingObjective(CONFIG, LORA, how=how, dropout=dropout)


def test_the_loss_is_the_cross_entropy_of_the_first_candidate(base: EncoderCheckpoint) -> None:
    weights, batch = away_from_the_start(init_adapter(base, LORA, KEY)), groups()
    batch["weights_G"][5:] = 0
    scores_GC = np.asarray(jax.jit(objective().scores)(weights, base.weights, batch), np.float64)
    shares_GC = np.exp(scores_GC) / np.exp(scores_GC).sum(axis=1, keepdims=True)
    total, count = jax.jit(objective().loss)(weights, dict(base.weights), batch, KEY)
    assert float(count) == 5
    assert float(total) == pytest.approx(-np.log(shares_GC[:5, 0]).sum(), rel=1e-5)


def test_an_adapter_begins_as_the_base(base: EncoderCheckpoint) -> None:
    begun = adapted(init_adapter(base, LORA, KEY), base.weights, LORA.scale)
    for name, values in base.weights.items():
        np.testing.assert_array_equal(begun[name], values)


def test_gradients_agree_with_numeric_differences_in_every_part(base: EncoderCheckpoint) -> None:
    weights = away_from_the_start(init_adapter(base, LORA, KEY, whole=["encoder.layer.0.output.LayerNorm"]))
    batch = groups()
    loss = jax.jit(lambda w: objective().loss(w, base.weights, batch, KEY)[0])
    leaves, tree = jax.tree.flatten(weights)
    gradients = jax.tree.leaves(jax.grad(loss)(weights))
    assert len(leaves) == 2 * 6 + 2 + 2
    for place, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = jax.random.normal(jax.random.key(place), leaf.shape)
        direction /= jnp.linalg.norm(direction)
        step = 1e-2

        def moved(by: float, place: int = place, direction: jax.Array = direction) -> float:
            return float(
                loss(jax.tree.unflatten(tree, [*leaves[:place], leaves[place] + by * direction, *leaves[place + 1 :]]))
            )

        numeric = (moved(step) - moved(-step)) / (2 * step)
        assert float(jnp.sum(gradient * direction)) == pytest.approx(numeric, rel=2e-2, abs=2e-3)


def test_recomputing_layers_changes_no_gradient(base: EncoderCheckpoint) -> None:
    weights, batch = away_from_the_start(init_adapter(base, LORA, KEY)), groups()

    def gradient(remat: bool) -> AdapterWeights:
        return jax.grad(
            lambda w: objective(Computation(remat=remat), dropout=0.1).loss(w, base.weights, batch, KEY)[0]
        )(weights)

    for one, other in zip(jax.tree.leaves(gradient(False)), jax.tree.leaves(gradient(True)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


class Repeated:
    """A `BatchSource` of one batch, over and over."""

    def __init__(self, batch: dict[str, np.ndarray], times: int) -> None:
        self._batch, self._times = batch, times

    def steps(self, number: int) -> int:
        return self._times

    def epoch(self, number: int) -> Iterator[dict[str, np.ndarray]]:
        yield from [self._batch] * self._times


@pytest.mark.parametrize(
    ("compute", "whole"), [(jnp.float32, []), (jnp.bfloat16, []), (jnp.float32, ["encoder.layer.0"])]
)
def test_eight_groups_are_learnt_by_heart(base: EncoderCheckpoint, tmp_path: Path, compute: type, whole: list) -> None:
    batch, ranker = groups(), objective(Computation(compute))
    figures = RankingFigures(ranker, base.weights, [batch])
    begun = init_adapter(base, LORA, KEY, whole=whole)
    options = TrainingOptions(learning_rate=1e-2, checkpoint_seconds=None)
    result = train(ranker, begun, base.weights, Repeated(batch, 120), options, tmp_path)
    after = figures(result.trainable)
    assert after["loss"] < 0.05 < figures(begun)["loss"]
    assert after["recall@1"] == 1.0


def test_figures_rank_the_gold_behind_ties_and_pass_over_fillers(base: EncoderCheckpoint) -> None:
    weights, batch = init_adapter(base, LORA, KEY), groups(3, 4)
    tied = weights._replace(head=jax.tree.map(jnp.zeros_like, weights.head))
    found = RankingFigures(objective(), base.weights, [batch])(tied)
    assert found == pytest.approx({"recall@1": 0.0, "mrr": 0.25, "loss": np.log(4)})
    weights, one = away_from_the_start(weights), groups(8, 4, seed=3)
    scores_GC = np.asarray(jax.jit(objective().scores)(weights, base.weights, one))
    firsts = scores_GC.argmax(axis=1) == 0
    one["weights_G"] = np.arange(8) < 6
    expected = firsts[:6].mean()
    assert RankingFigures(objective(), base.weights, [one])(weights)["recall@1"] == pytest.approx(expected)


def test_what_is_written_scores_as_what_was_trained(base: EncoderCheckpoint, tmp_path: Path) -> None:
    """Read back as another tool would: factors merged into the torch model's own weights."""
    import torch
    from transformers import BertConfig, BertModel

    weights, batch = away_from_the_start(init_adapter(base, LORA, KEY, whole=["embeddings.LayerNorm"])), groups()
    written(tmp_path, weights, PairFormat(24, 8))
    tensors = {
        name.removeprefix("base_model.model."): values
        for name, values in load_file(tmp_path / "adapter_model.safetensors").items()
    }
    assert all(values.dtype == np.float16 for values in tensors.values())
    state = {name: torch.from_numpy(values) for name, values in base.weights.items()}
    for name, values in tensors.items():
        if name.endswith("lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            change = tensors[f"{module}.lora_B.weight"].astype(np.float32) @ values.astype(np.float32) * 2.0
            state[f"{module}.weight"] = state[f"{module}.weight"] + torch.from_numpy(change)
        elif name.startswith("embeddings"):
            state[name] = torch.from_numpy(values.astype(np.float32))
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=24,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(state)
    ids_BT = torch.from_numpy(batch["tokens_GCT"].reshape(32, 12)).long()
    mask_BT = (torch.arange(12)[None, :] < torch.from_numpy(batch["lengths_GC"].reshape(32, 1))).long()
    with torch.inference_mode():
        first_BD = model(ids_BT, mask_BT).last_hidden_state[:, 0].numpy()
    scores_B = first_BD @ tensors["score.weight"].astype(np.float32)[0] + tensors["score.bias"].astype(np.float32)
    wanted_B = np.asarray(jax.jit(objective().scores)(weights, base.weights, batch)).ravel()
    np.testing.assert_allclose(scores_B, wanted_B, atol=1e-3 * np.abs(wanted_B).max())


def test_the_adapter_tells_what_it_was_trained_on(base: EncoderCheckpoint, tmp_path: Path) -> None:
    weights = init_adapter(base, LORA, KEY)
    written(tmp_path, weights, PairFormat(24, 8))
    adapter = read_adapter(tmp_path)
    assert (adapter.base_name, adapter.rank, adapter.alpha, adapter.task) == ("tiny", 4, 8.0, "SEQ_CLS")
    assert set(adapter.whole) == {"score.weight", "score.bias"}
    assert len(adapter.factors) == 6
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["capibara_pairs"] == {"max_tokens": 24, "question_tokens": 8}


def test_values_beyond_float16_are_not_written(base: EncoderCheckpoint, tmp_path: Path) -> None:
    weights = init_adapter(base, LORA, KEY)
    weights = weights._replace(head=weights.head._replace(bias=jnp.array([1e6])))
    with pytest.raises(AdapterError, match=r"score\.bias"):
        written(tmp_path, weights, PairFormat())


def test_wrong_options_are_named(base: EncoderCheckpoint) -> None:
    with pytest.raises(InvalidOption, match=r"dropout of the adapter is 0\.5"):
        RankingObjective(CONFIG, LoraOptions(targets=ENCODER_TARGETS, dropout=0.5))
    with pytest.raises(InvalidOption, match=r"dropout is 1\.0"):
        objective(dropout=1.0)
    with pytest.raises(InvalidOption, match=r"encoder\.layer\.9"):
        init_adapter(base, LORA, KEY, whole=["encoder.layer.9"])
    with pytest.raises(AdapterError, match="q_proj"):
        init_adapter(base, LoraOptions(), KEY)


def test_a_folder_read_and_trained_has_the_bases_name(base: EncoderCheckpoint, tmp_path: Path) -> None:
    folder = tmp_path / "small-bert"
    folder.mkdir()
    save_file(dict(base.weights), folder / "model.safetensors")
    sizes = {
        "model_type": "bert", "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 24,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes))
    read = load_encoder(folder)
    assert (read.name, read.config) == ("small-bert", CONFIG)
