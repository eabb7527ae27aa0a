"""The extractive reader's loss, gradients and figures, and that it learns to point."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.adapter_files import read_adapter
from capibara.model.encoder import Computation
from capibara.model.encoder_checkpoint import EncoderCheckpoint, EncoderConfig, weight_shapes
from capibara.model.errors import AdapterMismatch
from capibara.model.training.encoder_adapter import (
    ENCODER_TARGETS,
    AdapterWeights,
    begun_from,
    init_adapter,
    write_encoder_adapter,
)
from capibara.model.training.errors import InvalidOption
from capibara.model.training.loop import train
from capibara.model.training.lora import LoraOptions
from capibara.model.training.options import TrainingOptions
from capibara.model.training.pair_tokens import PairFormat
from capibara.model.training.span_objective import LONGEST_ANSWER, SpanFigures, SpanObjective, best_spans

CONFIG = EncoderConfig(60, 32, 2, 4, 48, 24, 2, 1e-12)
LORA = LoraOptions(rank=8, alpha=16.0, targets=ENCODER_TARGETS)
KEY = jax.random.key(0)
Rows = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def base() -> EncoderCheckpoint:
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(0, 0.3, shape) + (name.endswith("LayerNorm.weight"))).astype(np.float32)
        for name, shape in weight_shapes(CONFIG)
    }
    return EncoderCheckpoint("tiny", CONFIG, weights)


def rows(count: int = 8, length: int = 16, seed: int = 0) -> Rows:
    """Questions of two tokens, so that passages begin at token 4; every fourth row has no answer."""
    rng = np.random.default_rng(seed)
    lengths_B = rng.integers(10, length + 1, count).astype(np.int32)
    firsts_BT, lasts_BT = np.zeros((count, length), bool), np.zeros((count, length), bool)
    for row in range(count):
        first = 0 if row % 4 == 3 else int(rng.integers(4, lengths_B[row] - 3))
        firsts_BT[row, first] = lasts_BT[row, first + (2 if first else 0)] = True
    return {
        "tokens_BT": rng.integers(1, 60, (count, length)).astype(np.int32),
        "lengths_B": lengths_B,
        "passages_B": np.full(count, 4, np.int32),
        "firsts_BT": firsts_BT,
        "lasts_BT": lasts_BT,
        "weights_B": np.ones(count, np.float32),
    }


def begun(base: EncoderCheckpoint) -> AdapterWeights:
    return init_adapter(base, LORA, KEY, scores=2)


def away_from_the_start(weights: AdapterWeights) -> AdapterWeights:
    leaves, tree = jax.tree.flatten(weights)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def objective() -> SpanObjective:
    return SpanObjective(CONFIG, LORA, how=Computation())


def test_only_the_passage_and_the_first_token_can_be_pointed_at(base: EncoderCheckpoint) -> None:
    batch = rows()
    scores_SBT = np.asarray(objective().scores(begun(base), base.weights, batch))
    for row, length in enumerate(batch["lengths_B"]):
        possible_T = (scores_SBT[:, row] > -1e29).all(axis=0)
        assert np.flatnonzero(possible_T).tolist() == [0, *range(4, length - 1)]


def test_the_loss_sums_the_probabilities_of_all_places_of_an_answer(base: EncoderCheckpoint) -> None:
    batch = rows(2)
    batch["firsts_BT"][0] = batch["lasts_BT"][0] = False
    batch["firsts_BT"][0, [4, 6]] = batch["lasts_BT"][0, [5, 7]] = True
    batch["weights_B"][1] = 0
    weights = away_from_the_start(begun(base))
    begins_T, ends_T = np.asarray(objective().scores(weights, base.weights, batch), np.float64)[:, 0]
    shares = [np.exp(one - one.max()) / np.exp(one - one.max()).sum() for one in (begins_T, ends_T)]
    total, count = objective().loss(weights, dict(base.weights), batch, KEY)
    assert float(count) == 1
    assert float(total) == pytest.approx(-np.log(shares[0][[4, 6]].sum()) - np.log(shares[1][[5, 7]].sum()), rel=1e-4)


def test_gradients_equal_numeric_ones(base: EncoderCheckpoint) -> None:
    weights, batch = away_from_the_start(begun(base)), rows(4)
    loss = jax.jit(lambda weights: objective().loss(weights, dict(base.weights), batch, KEY)[0])
    gradient = jax.grad(loss)(weights)
    direction = jax.tree.map(lambda leaf: jax.random.normal(KEY, leaf.shape), gradient)
    step = 1e-3
    ahead, behind = (
        float(loss(jax.tree.map(lambda leaf, d, sign=sign: leaf + sign * step * d, weights, direction)))
        for sign in (1, -1)
    )
    along = sum(float(jnp.vdot(g, d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    assert along == pytest.approx((ahead - behind) / (2 * step), rel=2e-2)


def test_it_learns_to_point_at_eight_answers(base: EncoderCheckpoint, tmp_path: Path) -> None:
    class Rounds:
        def epoch(self, number: int):
            yield rows(8)

        def steps(self, number: int) -> int:
            return 1

    options = TrainingOptions(epochs=150, learning_rate=5e-3, keep_best=("loss", "min"), evaluate_every=None)
    figures = SpanFigures(objective(), base.weights, [rows(8)])
    result = train(objective(), begun(base), dict(base.weights), Rounds(), options, tmp_path, evaluate=figures)
    assert figures(result.best)["loss"] < 0.05
    assert figures(result.best)["exact"] == 1.0


@pytest.mark.parametrize(
    ("begins", "ends", "span"),
    [
        ([0, 0, 5, 0], [0, 0, 0, 5], (2, 3)),
        ([9, 0, 5, 0], [9, 0, 0, 5], (0, 0)),
        ([0, 0, 0, 5], [0, 5, 4, 1], (3, 3)),
        ([9, 1, 0, 0], [0, 0, 0, 9], (1, 3)),
    ],
    ids=["in order", "none", "not backwards", "none ends where it begins"],
)
def test_the_best_span_is_the_best_possible_one(begins: list[float], ends: list[float], span: tuple[int, int]) -> None:
    firsts, lasts = best_spans(np.array([[begins], [ends]], np.float32))
    assert (int(firsts[0]), int(lasts[0])) == span


def test_a_span_is_no_longer_than_an_answer_may_be() -> None:
    scores_SBT = np.full((2, 1, 50), -5.0, np.float32)
    scores_SBT[0, 0, 1] = scores_SBT[1, 0, 49] = 5
    first, last = (int(one[0]) for one in best_spans(scores_SBT))
    assert last - first < LONGEST_ANSWER


def test_refused_counts_rows_with_an_answer_alone(base: EncoderCheckpoint) -> None:
    weights = begun(base)
    refuse = weights._replace(head=weights.head._replace(weight=jnp.zeros((2, 32)), bias=jnp.zeros(2)))
    figures = SpanFigures(objective(), base.weights, [rows(8)])(refuse)
    assert figures["refused"] == 1.0  # all scores are equal: the first token is taken
    assert figures["exact"] == pytest.approx(2 / 8)


def test_the_beginning_of_one_place_with_the_end_of_another_is_not_exact(base: EncoderCheckpoint) -> None:
    batch = rows(2)
    batch["firsts_BT"][:] = batch["lasts_BT"][:] = False
    batch["firsts_BT"][:, [4, 6]] = batch["lasts_BT"][:, [5, 7]] = True

    class Pointing:
        def scores(self, trainable, frozen, batch):
            """At tokens 4 to 7 in the first row, 6 to 7 in the second."""
            scores_SBT = jnp.zeros((2, *batch["tokens_BT"].shape))
            return scores_SBT.at[0, jnp.arange(2), jnp.array([4, 6])].set(9.0).at[1, :, 7].set(9.0)

    figures = SpanFigures(Pointing(), base.weights, [batch])  # type: ignore[arg-type]
    assert figures(begun(base))["exact"] == 0.5


def test_what_is_written_can_be_begun_from(base: EncoderCheckpoint, tmp_path: Path) -> None:
    trained = away_from_the_start(begun(base))
    write_encoder_adapter(tmp_path, trained, LORA, "tiny", PairFormat(24, 8), task="QUESTION_ANS", head="qa_outputs")
    assert read_adapter(tmp_path).whole["qa_outputs.weight"].shape == (2, 32)
    fresh = begun(base)
    taken = begun_from(tmp_path, fresh, LORA)
    assert all(np.allclose(taken.lora[name].up, trained.lora[name].up, atol=1e-2) for name in trained.lora)
    assert np.array_equal(taken.head.weight, fresh.head.weight)


def test_another_rank_cannot_be_begun_from(base: EncoderCheckpoint, tmp_path: Path) -> None:
    write_encoder_adapter(
        tmp_path, begun(base), LORA, "tiny", PairFormat(24, 8), task="QUESTION_ANS", head="qa_outputs"
    )
    other = LoraOptions(rank=2, alpha=16.0, targets=ENCODER_TARGETS)
    with pytest.raises(AdapterMismatch, match="rank 8"):
        begun_from(tmp_path, init_adapter(base, other, KEY, scores=2), other)


def test_an_adapter_of_another_width_cannot_be_begun_from(base: EncoderCheckpoint, tmp_path: Path) -> None:
    narrow = dataclasses.replace(CONFIG, width=16)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in weight_shapes(narrow)}
    other = init_adapter(EncoderCheckpoint("tiny", narrow, weights), LORA, KEY, scores=2)
    write_encoder_adapter(tmp_path, other, LORA, "tiny", PairFormat(24, 8), task="SEQ_CLS", head="score")
    with pytest.raises(AdapterMismatch, match=r"cannot be begun from: its factors of encoder\.layer\.0"):
        begun_from(tmp_path, begun(base), LORA)


def test_weights_trained_outright_cannot_be_begun_from(base: EncoderCheckpoint, tmp_path: Path) -> None:
    with_norms = init_adapter(base, LORA, KEY, scores=2, whole=("encoder.layer.0.output.LayerNorm",))
    write_encoder_adapter(tmp_path, with_norms, LORA, "tiny", PairFormat(24, 8), task="SEQ_CLS", head="score")
    with pytest.raises(AdapterMismatch, match=r"LayerNorm\.bias was trained outright there, and would be lost"):
        begun_from(tmp_path, begun(base), LORA)


def test_checksums_of_an_older_adapter_do_not_stay_beside_new_weights(base: EncoderCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text("0  adapter_model.safetensors\n")
    write_encoder_adapter(tmp_path, begun(base), LORA, "tiny", PairFormat(24, 8), task="SEQ_CLS", head="score")
    assert not (tmp_path / "SHA256SUMS").exists()


def test_dropout_of_the_factors_is_refused() -> None:
    with pytest.raises(InvalidOption, match="dropout"):
        SpanObjective(CONFIG, LoraOptions(4, 8.0, ENCODER_TARGETS, dropout=0.1))
