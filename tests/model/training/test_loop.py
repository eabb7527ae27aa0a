"""The training loop, on a small real network."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filelock import FileLock

from capibara.model.training.errors import (
    BadBatches,
    EvaluationMissing,
    FolderBusy,
    InvalidOption,
    TrainingDiverged,
)
from capibara.model.training.optimiser import learning_rate_schedule, make_optimiser
from capibara.model.training.options import TrainingOptions
from capibara.model.training.plan import Plan
from capibara.model.training.update import CompiledUpdate, Placement

from .regression import SCALE, Regression, Sine, error_of, furthest, leaves, run, same, weights

CONSTANT = {"schedule": "constant", "learning_rate": 0.02}


class TestUpdates:
    def test_a_run_lowers_the_loss(self, tmp_path):
        result = run(tmp_path, TrainingOptions(epochs=2, learning_rate=0.02), batches=Sine((8,) * 80))
        assert result.reason == "finished"
        assert result.step == len(result.history.losses) == 160
        assert np.mean(result.history.losses[-20:]) < 0.5 * np.mean(result.history.losses[:20])

    def test_accumulated_batches_of_several_sizes_equal_one_large_batch(self, tmp_path):
        class Pieces(Sine):
            def steps(self, number):
                return 4 * len(self.sizes)

            def epoch(self, number):
                for batch in super().epoch(number):
                    for start, end in ((0, 3), (3, 4), (4, 8), (8, 16)):
                        yield {name: values[start:end] for name, values in batch.items()}

        options = {"epochs": 3, "optimiser": "sgd", "momentum": 0.9, **CONSTANT}
        large = run(tmp_path / "1", TrainingOptions(**options), batches=Sine((16, 16, 16)))
        pieces = run(tmp_path / "4", TrainingOptions(accumulate=4, **options), batches=Pieces((16, 16, 16)))
        np.testing.assert_allclose(pieces.history.losses, large.history.losses, rtol=1e-5)
        assert furthest(pieces.trainable, large.trainable) < 1e-6

    def test_the_loss_of_an_update_is_the_mean_over_its_targets(self, tmp_path):
        result = run(tmp_path, TrainingOptions(max_steps=1, accumulate=3), batches=Sine((8, 4, 8)))
        batches = list(Sine((8, 4, 8)).epoch(0))
        sums = [Regression().loss(weights(), SCALE, batch, None) for batch in batches]
        expected = sum(float(loss) for loss, _ in sums) / sum(float(weight) for _, weight in sums)
        assert result.history.losses[0] == pytest.approx(expected, rel=1e-5)

    def test_each_shape_is_compiled_once(self):
        options = TrainingOptions()
        schedule = learning_rate_schedule(options, 10)
        placement = Placement(None)
        update = CompiledUpdate(Regression(), make_optimiser(options, schedule), schedule, placement, 0)
        state, sums = update.first_state(weights()), update.no_sums(weights())
        for step, batch in enumerate(Sine((8, 4, 8, 4, 8, 4)).epoch(0)):
            sums = update.add(sums, state.trainable, np.int32(step), SCALE, placement.batch(batch))
            state, sums, _ = update.apply(state, sums)
        assert update.add._cache_size() == 2  # type: ignore[attr-defined]
        assert update.apply._cache_size() == 1  # type: ignore[attr-defined]

    def test_the_weights_that_are_given_stay_as_they_are(self, tmp_path):
        given = jax.tree.map(jnp.asarray, weights())
        run(tmp_path, trainable=given)
        assert same(given, weights())

    def test_weights_of_half_precision_are_trained_in_float32(self, tmp_path):
        half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), weights())
        tiny = TrainingOptions(epochs=1, optimiser="sgd", schedule="constant", learning_rate=1e-5)
        result = run(tmp_path, tiny, trainable=half)
        assert {leaf.dtype for leaf in leaves(result.trainable)} == {np.dtype(np.float32)}
        assert furthest(result.trainable, jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), half)) > 0

    def test_whole_numbers_among_the_weights_are_refused_by_name(self, tmp_path):
        with pytest.raises(InvalidOption, match=r"trainable\['places'\] is int32, which has no gradient"):
            run(tmp_path, trainable={**weights(), "places": np.zeros(3, np.int32)})

    def test_a_source_may_fill_the_same_arrays_again(self, tmp_path):
        class Reusing(Sine):
            def epoch(self, number):
                kept: dict[str, np.ndarray] = {}
                for batch in super().epoch(number):
                    kept = kept or {name: np.empty_like(values) for name, values in batch.items()}
                    for name, values in batch.items():
                        kept[name][...] = values
                    yield kept

        sizes = (2048,) * 6  # large enough for a device to share the memory
        assert same(
            run(tmp_path / "1", batches=Reusing(sizes)).trainable, run(tmp_path / "2", batches=Sine(sizes)).trainable
        )


class TestSeed:
    def test_one_seed_gives_the_same_run_bit_for_bit(self, tmp_path):
        options = TrainingOptions(epochs=6, accumulate=2, learning_rate=0.02, seed=5)
        first = run(tmp_path / "1", options, objective=Regression(0.3))
        second = run(tmp_path / "2", options, objective=Regression(0.3))
        assert first.history == second.history
        assert same(first.trainable, second.trainable)

    def test_another_seed_gives_another_run(self, tmp_path):
        first = run(tmp_path / "1", TrainingOptions(seed=1), objective=Regression(0.3))
        second = run(tmp_path / "2", TrainingOptions(seed=2), objective=Regression(0.3))
        assert first.history != second.history

    def test_each_batch_of_an_update_has_a_key_of_its_own(self, tmp_path):
        class Key:
            def loss(self, trainable, frozen, batch, key):
                return trainable["w"].sum() * 0 + jax.random.uniform(key), jnp.float32(1)

        def losses(accumulate: int) -> tuple[float, ...]:
            options = TrainingOptions(epochs=1, accumulate=accumulate)
            return run(
                tmp_path / str(accumulate), options, objective=Key(), trainable={"w": np.ones(1, np.float32)}
            ).history.losses  # type: ignore[arg-type]

        assert len(set(losses(1))) == 5
        # The first batch of the first update has the same key in both; were the second's the same, so were the mean.
        assert losses(2)[0] != losses(1)[0]


class TestPlan:
    def test_the_batches_left_at_the_end_of_an_epoch_are_an_update_too(self, tmp_path):
        assert run(tmp_path, TrainingOptions(epochs=2, accumulate=2)).step == 6

    def test_max_steps_ends_a_run_within_an_epoch(self, tmp_path):
        assert run(tmp_path, TrainingOptions(epochs=None, max_steps=7)).step == 7

    def test_the_place_of_an_update_is_found_across_epochs(self):
        plan = Plan.of(TrainingOptions(epochs=3, accumulate=2, max_steps=8), Sine())
        assert plan.updates == (3, 3, 2)
        assert [plan.epoch_of(step) for step in (0, 2, 3, 7)] == [(0, 0), (0, 2), (1, 0), (2, 1)]
        assert [done for done in range(9) if plan.ends_epoch(done)] == [3, 6, 8]
        assert plan.evaluations_after(3, 4) == 3  # after 4, 6 and 8

    @pytest.mark.parametrize(("promised", "word"), [(6, "fewer"), (4, "more")])
    def test_an_epoch_that_breaks_its_promise_is_refused(self, tmp_path, promised, word):
        class Liar(Sine):
            def steps(self, number):
                return promised

        with pytest.raises(BadBatches, match=rf"epoch 0 yields {word} batches than the {promised} that steps\(0\)"):
            run(tmp_path, batches=Liar())

    def test_no_batches_are_refused(self, tmp_path):
        with pytest.raises(BadBatches, match="epoch 0 has 0 batches"):
            run(tmp_path, batches=Sine(()))


class TestEvaluation:
    def test_it_runs_after_each_epoch_and_each_so_many_updates(self, tmp_path):
        options = TrainingOptions(epochs=2, evaluate_every=2, evaluate_first=True)
        result = run(tmp_path, options, evaluate=error_of)
        assert [evaluation.step for evaluation in result.evaluations] == [0, 2, 4, 5, 6, 8, 10]
        assert [evaluation.epoch for evaluation in result.evaluations] == [0, 0, 0, 0, 1, 1, 1]

    def test_the_best_weights_are_kept(self, tmp_path):
        figures = iter([0.3, 0.5, 0.4, 0.45])
        options = TrainingOptions(epochs=4, keep_best=("f1", "max"), **CONSTANT)
        result = run(tmp_path / "1", options, evaluate=lambda _: {"f1": next(figures)})
        until_best = run(tmp_path / "2", TrainingOptions(epochs=2, **CONSTANT))
        assert result.best_step == 10
        assert same(result.best, until_best.trainable)
        assert not same(result.best, result.trainable)

    def test_without_keep_best_the_last_weights_are_the_best(self, tmp_path):
        result = run(tmp_path, evaluate=error_of)
        assert result.best_step == result.step
        assert same(result.best, result.trainable)

    def test_a_run_without_a_new_best_stops_early(self, tmp_path):
        figures = iter([3.0, 2.0, 2.5, math.nan, 1.0])
        options = TrainingOptions(epochs=10, keep_best=("error", "min"), patience=2)
        result = run(tmp_path, options, evaluate=lambda _: {"error": next(figures)})
        assert result.reason == "early stop"
        assert (result.step, result.best_step) == (20, 10)

    def test_a_figure_that_is_not_there_is_named_beside_those_that_are(self, tmp_path):
        options = TrainingOptions(keep_best=("f1", "max"))
        with pytest.raises(EvaluationMissing, match=r"keep_best names 'f1', but the evaluation returns \['error'\]"):
            run(tmp_path, options, evaluate=error_of)

    def test_keep_best_without_an_evaluation_is_refused(self, tmp_path):
        with pytest.raises(InvalidOption, match="keep_best names 'f1', but there is no evaluation"):
            run(tmp_path, TrainingOptions(keep_best=("f1", "max")))


class Spoilt(Sine):
    """One batch, counted over the run, is not what it should be."""

    def __init__(self, at: int, entry: str, value: float) -> None:
        super().__init__((8,) * 5)
        self.at, self.entry, self.value = at, entry, value

    def epoch(self, number):
        for place, batch in enumerate(super().epoch(number)):
            if number * len(self.sizes) + place == self.at:
                batch[self.entry][:] = self.value
            yield batch


class TestDivergence:
    @pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
    def test_an_update_that_is_not_finite_stops_the_run_and_the_weights_before_it_are_kept(self, tmp_path, value):
        options = TrainingOptions(epochs=4, **CONSTANT)
        with pytest.raises(TrainingDiverged, match=r"update 8 is not finite .* weights after update 7") as stopped:
            run(tmp_path / "1", options, batches=Spoilt(7, "y", value))
        good = run(tmp_path / "2", TrainingOptions(max_steps=7, epochs=None, **CONSTANT), batches=Sine((8,) * 5))
        assert stopped.value.step == 8
        assert same(stopped.value.trainable, good.trainable)
        assert (tmp_path / "1" / "checkpoints" / "7").is_dir()

    def test_going_on_meets_the_same_update_again(self, tmp_path):
        for _ in range(2):
            with pytest.raises(TrainingDiverged, match="update 8 is not finite"):
                run(tmp_path, TrainingOptions(epochs=4), batches=Spoilt(7, "y", math.nan))

    def test_one_bad_batch_of_several_spoils_the_update(self, tmp_path):
        with pytest.raises(TrainingDiverged, match="update 3 is not finite"):
            run(tmp_path, TrainingOptions(epochs=4, accumulate=3), batches=Spoilt(7, "y", math.nan))

    def test_an_update_without_targets_stops_the_run_by_name(self, tmp_path):
        with pytest.raises(TrainingDiverged, match="update 8 has no targets, all of its examples are masked"):
            run(tmp_path, TrainingOptions(epochs=4), batches=Spoilt(7, "mask", 0.0))

    def test_a_batch_without_targets_among_others_changes_nothing(self, tmp_path):
        result = run(tmp_path, TrainingOptions(epochs=4, accumulate=3), batches=Spoilt(7, "mask", 0.0))
        assert all(math.isfinite(loss) for loss in result.history.losses)


class TestCancelling:
    def test_a_cancelled_run_goes_on_later_as_if_nothing_had_been(self, tmp_path):
        cancel = threading.Event()
        options = TrainingOptions(epochs=6, learning_rate=0.02, report_every=1)
        first = run(
            tmp_path / "1",
            options,
            objective=Regression(0.3),
            cancel=cancel,
            report=lambda progress: cancel.set() if progress.step == 12 else None,
        )
        assert first.reason == "cancelled"
        assert 12 <= first.step < 30
        second = run(tmp_path / "1", options, objective=Regression(0.3))
        whole = run(tmp_path / "2", options, objective=Regression(0.3))
        assert second.reason == "finished"
        assert second.history == whole.history
        assert same(second.trainable, whole.trainable)


class TestReports:
    def test_progress_tells_where_the_run_stands(self, tmp_path):
        told = []
        options = TrainingOptions(epochs=4, report_every=4, keep_best=("error", "min"), **CONSTANT)
        result = run(tmp_path, options, evaluate=error_of, report=told.append)
        plain = [progress for progress in told if progress.evaluation is None]
        assert [progress.step for progress in plain] == [4, 8, 12, 16, 20]
        assert {(progress.steps, progress.epochs) for progress in told} == {(20, 4)}
        assert plain[-1].epoch == 3
        assert plain[-1].learning_rate == pytest.approx(0.02)
        assert plain[-1].seconds_left == 0
        assert all(progress.targets_per_second > 0 for progress in plain)
        assert [progress.evaluation for progress in told if progress.evaluation] == list(result.evaluations)

    def test_the_loss_that_is_told_is_the_mean_over_recent_targets(self, tmp_path):
        told = []
        result = run(tmp_path, TrainingOptions(epochs=1, report_every=3), batches=Sine((8, 4, 8)), report=told.append)
        targets = np.array([7, 3, 7])
        assert told[-1].loss == pytest.approx(np.dot(result.history.losses, targets) / targets.sum(), rel=1e-6)

    def test_the_log_has_a_line_for_each_update_and_each_evaluation(self, tmp_path):
        result = run(tmp_path, evaluate=error_of)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert [line["loss"] for line in lines if "loss" in line] == list(result.history.losses)
        assert [line["step"] for line in lines if "evaluation" in line] == [5, 10, 15, 20]

    def test_a_finished_run_is_told_again_without_another_update(self, tmp_path):
        first = run(tmp_path, evaluate=error_of)
        log = (tmp_path / "log.jsonl").read_text()
        second = run(tmp_path, evaluate=lambda _: pytest.fail("nothing is left to evaluate"))
        assert second.history == first.history
        assert second.evaluations == first.evaluations
        assert same(second.trainable, first.trainable)
        assert (tmp_path / "log.jsonl").read_text() == log

    def test_a_folder_in_which_another_run_goes_is_refused(self, tmp_path):
        with FileLock(tmp_path / ".lock"), pytest.raises(FolderBusy, match="another process trains in"):
            run(tmp_path)
        assert run(tmp_path).reason == "finished"


class TestDevices:
    def test_eight_devices_give_the_losses_of_one(self, tmp_path):
        program = Path(__file__).with_name("regression.py")
        flags = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, str(program), str(tmp_path), "mesh"]
        done = subprocess.run(command, env=flags, capture_output=True, text=True, check=True, timeout=200)
        told = json.loads(done.stdout)
        assert told["devices"] == 8
        np.testing.assert_allclose(told["shared"], told["alone"], atol=1e-5)

    def test_more_devices_than_there_are_are_refused(self, tmp_path):
        there = len(jax.devices())
        with pytest.raises(InvalidOption, match=f"devices is {there + 1}, but JAX sees {there}"):
            run(tmp_path, TrainingOptions(devices=there + 1))

    def test_a_batch_that_does_not_divide_is_refused(self):
        placement = Placement(None)
        placement.count = 3
        with pytest.raises(BadBatches, match=r"'x' has shape \(8, 5\), whose first axis does not divide among 3"):
            placement.batch(next(Sine().epoch(0)))
