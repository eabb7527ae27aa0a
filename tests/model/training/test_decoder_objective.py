"""The decoder's training objective: its loss, its gradients, and that nothing of how it is run changes them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capibara.model.adapter_files import LoraFactors
from capibara.model.errors import AdapterError, CheckpointError
from capibara.model.training import decoder_objective
from capibara.model.training.batches import BatchOptions, Example, ExampleBatches
from capibara.model.training.decoder_objective import AnswerFigures, DecoderObjective, init_decoder
from capibara.model.training.loop import train
from capibara.model.training.lora import LoraOptions
from capibara.model.training.options import TrainingOptions
from capibara.model.training.stacked_decoder import Run

KEY = jax.random.key(0)
EXACT = Run(compute=jnp.float32)
LORA = LoraOptions(rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def base(tiny):
    config = tiny.config(4, 2, tied=False)
    return tiny.checkpoint(config, tiny.tensors(config, seed=1))


def examples(count: int = 6, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    return [
        Example(rng.integers(0, 260, rng.integers(3, 40)), rng.integers(0, 260, rng.integers(1, 6)))
        for _ in range(count)
    ]


def batch_of(given: list[Example], **options) -> dict[str, np.ndarray]:
    """All of ``given`` in one batch."""
    options = {"tokens": 4096, "longest": 256, "shapes": 1, "shuffle": False, **options}
    (batch,) = ExampleBatches(given, BatchOptions(**options)).epoch(0)
    return dict(batch)


def moved(trainable):
    """Every factor random, so that no gradient is zero for the reason that its partner is."""
    leaves, tree = jax.tree.flatten(trainable)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def start(base, lora=LORA, run=EXACT):
    trainable, frozen = init_decoder(base, lora, KEY, run)
    return DecoderObjective(base.config, lora, run), moved(trainable) if lora else trainable, frozen


def value_and_gradients(objective, trainable, frozen, batch):
    (loss, weight), gradients = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))(trainable, frozen, batch, KEY)
    return float(loss / weight), gradients


def assert_close(ours, theirs, tolerance):
    for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * float(np.abs(other).max()) + 1e-7)


def test_fresh_factors_leave_the_logits_of_the_base_as_they_are(base, tiny):
    given = examples()
    trainable, frozen = init_decoder(base, LORA, KEY, EXACT)
    batch = batch_of(given)
    ours = np.asarray(DecoderObjective(base.config, LORA, EXACT).target_logits(trainable, frozen, batch))
    plain = DecoderObjective(base.config, None, EXACT)
    np.testing.assert_array_equal(ours, plain.target_logits(init_decoder(base, None, KEY)[0], None, batch))
    runner = tiny.runner(base.config, base.tensors)
    for row, (prompt, answer) in enumerate(given):
        expected = runner.score([*prompt, *answer[:-1]])[len(prompt) - 1 :]
        np.testing.assert_allclose(ours[row, : len(answer)], expected, rtol=0, atol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_answers_alone(base, tiny):
    given = examples()
    loss, _ = value_and_gradients(*start(base, None), batch_of(given))
    runner = tiny.runner(base.config, base.tensors)
    losses = []
    for prompt, answer in given:
        scores = runner.score([*prompt, *answer[:-1]])[len(prompt) - 1 :].astype(np.float64)
        log_sums = np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)) + scores.max(axis=1)
        losses += (log_sums - scores[np.arange(len(answer)), answer]).tolist()
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("lora", [LORA, None], ids=["factors", "every-weight"])
def test_gradients_equal_numeric_differences(base, lora):
    objective, trainable, frozen = start(base, lora)
    batch = batch_of(examples(3))
    loss = jax.jit(lambda weights: objective.loss(weights, frozen, batch, KEY)[0])
    gradients = jax.grad(loss)(trainable)
    rng = np.random.default_rng(0)
    for name, weights in trainable.items():
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), weights)

        def at(distance, name=name, weights=weights, way=way):
            there = jax.tree.map(lambda leaf, ahead: leaf + np.float32(distance) * ahead, weights, way)
            return float(loss({**trainable, name: there}))

        # The network is float32: a wide step keeps its rounding small, the formula of fourth order the step's error.
        step = 2e-3
        numeric = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
        pairs = zip(jax.tree.leaves(gradients[name]), jax.tree.leaves(way), strict=True)
        ours = sum(float((gradient * along).sum()) for gradient, along in pairs)
        assert ours == pytest.approx(numeric, rel=1e-2, abs=3e-2), name


@pytest.mark.parametrize(
    "run",
    [
        Run(jnp.float32, remat=True, attention="batched"),
        Run(jnp.float32, scan=False, attention="loop"),
        Run(jnp.float32, remat=True, scan=False),
    ],
    ids=["remat and scan", "neither", "remat"],
)
def test_how_the_layers_are_run_changes_neither_loss_nor_gradients(base, run):
    batch = batch_of(examples())
    loss, gradients = value_and_gradients(*start(base), batch)
    other_loss, other_gradients = value_and_gradients(*start(base, run=run), batch)
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert_close(other_gradients, gradients, 1e-4)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("lora", [LORA, None], ids=["factors", "every-weight"])
def test_bfloat16_stays_near_float32(base, lora, scan):
    batch = batch_of(examples())
    loss, gradients = value_and_gradients(*start(base, lora), batch)
    rounded_loss, rounded = value_and_gradients(*start(base, lora, Run(jnp.bfloat16, scan=scan)), batch)
    assert rounded_loss == pytest.approx(loss, rel=0.02)
    ours, theirs = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in (rounded, gradients))
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded)} == {jnp.dtype(jnp.float32)}
    assert ours @ theirs >= 0.99 * np.linalg.norm(ours) * np.linalg.norm(theirs)


def test_packed_rows_have_the_loss_and_gradients_of_single_ones(base):
    given = examples(9)
    loss, gradients = value_and_gradients(*start(base), batch_of(given))
    packed = batch_of(given, packed=True, longest=128)
    assert packed["segments_BT"].max() > 1
    packed_loss, packed_gradients = value_and_gradients(*start(base), packed)
    assert packed_loss == pytest.approx(loss, abs=1e-5)
    assert_close(packed_gradients, gradients, 1e-4)


def test_padding_of_rows_and_batches_does_not_change_the_loss(base):
    given = examples()
    loss, gradients = value_and_gradients(*start(base), batch_of(given, tokens=6 * 64, longest=64))
    padded = {name: np.pad(values, [(0, 2), (0, 33)]) for name, values in batch_of(given).items()}
    padded["tokens_BT"][:, 64:] = 17
    padded_loss, padded_gradients = value_and_gradients(*start(base), padded)
    assert padded_loss == pytest.approx(loss, abs=1e-5)
    assert_close(padded_gradients, gradients, 1e-4)


def test_many_targets_are_taken_row_by_row_with_the_same_result(base, monkeypatch):
    batch = batch_of(examples())
    loss, gradients = value_and_gradients(*start(base), batch)
    monkeypatch.setattr(decoder_objective, "_LARGEST_LOGITS", 8)
    other_loss, other_gradients = value_and_gradients(*start(base), batch)
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert_close(other_gradients, gradients, 1e-4)


def test_a_factor_missing_in_one_layer_is_no_change_there(base):
    batch = batch_of(examples())
    objective, trainable, frozen = start(base)
    name = "model.layers.1.self_attn.k_proj"
    nothing = {**trainable, name: LoraFactors(trainable[name].down, 0 * trainable[name].up)}
    without = {other: factors for other, factors in trainable.items() if other != name}
    expected = objective.target_logits(nothing, frozen, batch)
    np.testing.assert_allclose(objective.target_logits(without, frozen, batch), expected, rtol=0, atol=1e-6)


def test_dropout_hangs_on_the_key_and_is_off_for_figures(base):
    lora = LoraOptions(rank=4, alpha=8.0, dropout=0.5)
    objective, trainable, frozen = start(base, lora)
    batch = batch_of(examples())
    one, again, other = (objective.loss(trainable, frozen, batch, jax.random.key(seed))[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other
    plain, *_ = start(base)
    np.testing.assert_array_equal(
        objective.figures(trainable, frozen, batch).losses, plain.figures(trainable, frozen, batch).losses
    )


def test_exact_answers_are_those_that_greedy_decoding_gives(base, tiny):
    runner = tiny.runner(base.config, base.tensors)
    right = []
    for prompt, answer in examples(8):
        tokens = prompt.tolist()
        for _ in answer:
            tokens.append(int(runner.score(tokens)[-1].argmax()))
        right.append(Example(prompt, tokens[len(prompt) :]))
    wrong = [Example(prompt, [*answer[:-1], (answer[-1] + 1) % 260]) for prompt, answer in right[:3]]
    trainable, frozen = init_decoder(base, LORA, KEY, EXACT)
    batches = list(ExampleBatches(right + wrong, BatchOptions(tokens=256, longest=64, shapes=2)).epoch(0))
    figures = AnswerFigures(DecoderObjective(base.config, LORA, EXACT), frozen, batches)(trainable)
    assert figures["exact"] == pytest.approx(8 / 11)


@pytest.mark.parametrize("lora", [LoraOptions(rank=32, alpha=64.0), None], ids=["factors", "every-weight"])
def test_eight_examples_are_learnt_by_heart(base, tmp_path, lora):
    batching = BatchOptions(tokens=512, longest=64, shapes=1)
    source = ExampleBatches(30 * examples(8, seed=3), batching)
    # The last norm and the head are frozen where factors are trained: as small as they are, no logit could be large.
    loud = type(base)(base.config, {**base.tensors, "model.norm.weight": np.full(base.config.width, 16.0, np.float32)})
    objective = DecoderObjective(base.config, lora, EXACT)
    trainable, frozen = init_decoder(loud, lora, KEY, EXACT)
    options = TrainingOptions(epochs=3, learning_rate=3e-3, schedule="cosine")
    trained = train(objective, trainable, frozen, source, options, tmp_path).trainable
    figures = AnswerFigures(objective, frozen, ExampleBatches(examples(8, seed=3), batching).epoch(0))
    found = figures(trained)
    assert found["loss"] < 0.05
    assert found["exact"] == 1.0


def test_a_weight_of_another_shape_is_refused_by_name(base):
    name = "model.layers.1.mlp.up_proj.weight"
    broken = type(base)(base.config, {**base.tensors, name: np.zeros((3, 3), np.float32)})
    with pytest.raises(CheckpointError, match=rf"{name} is \(3, 3\); the configuration asks for \(48, 32\)"):
        init_decoder(broken, LORA, KEY)


def test_a_target_that_names_nothing_is_refused(base):
    with pytest.raises(AdapterError, match="'query' names no matrix of this model"):
        init_decoder(base, LoraOptions(targets=("query",)), KEY)
