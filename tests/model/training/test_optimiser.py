"""Options, schedules and optimisers, against optax and against their formulas."""

from __future__ import annotations

import math

import numpy as np
import optax
import pytest

from capibara.model.training.errors import InvalidOption
from capibara.model.training.optimiser import learning_rate_schedule, make_optimiser
from capibara.model.training.options import KeepBest, TrainingOptions


def rates(steps: int, **options) -> np.ndarray:
    schedule = learning_rate_schedule(TrainingOptions(learning_rate=0.5, **options), steps)
    return np.array([float(schedule(step)) for step in range(steps + 1)])


class TestSchedules:
    def test_constant_stays_at_the_peak(self):
        np.testing.assert_allclose(rates(10, schedule="constant"), 0.5)

    def test_linear_falls_evenly_to_the_final_rate(self):
        expected = 0.5 + (0.05 - 0.5) * np.arange(11) / 10
        np.testing.assert_allclose(rates(10, schedule="linear", final_rate=0.1), expected, rtol=1e-6)

    def test_cosine_follows_half_a_wave(self):
        expected = 0.5 * (0.9 * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2 + 0.1)
        np.testing.assert_allclose(rates(10, schedule="cosine", final_rate=0.1), expected, rtol=1e-5)

    def test_polynomial_falls_with_its_power(self):
        expected = 0.5 * (1 - np.arange(11) / 10) ** 3
        np.testing.assert_allclose(rates(10, schedule="polynomial", power=3.0), expected, atol=1e-7)

    def test_warm_up_rises_from_above_zero_to_the_peak_and_the_rest_decays(self):
        found = rates(10, schedule="linear", warmup_steps=4)
        np.testing.assert_allclose(found[:5], 0.5 * np.arange(1, 6) / 5, rtol=1e-6)
        np.testing.assert_allclose(found[4:], 0.5 * (1 - np.arange(7) / 6), atol=1e-7)

    def test_a_warm_up_fraction_is_that_many_steps(self):
        np.testing.assert_array_equal(rates(20, warmup_fraction=0.25), rates(20, warmup_steps=5))

    def test_a_warm_up_longer_than_the_run_is_refused(self):
        with pytest.raises(InvalidOption, match="warmup_steps is 10, but the run has only 10 updates"):
            rates(10, warmup_steps=10)


def one_update(gradient: np.ndarray, weight: np.ndarray, times: int = 1, **options) -> np.ndarray:
    made = TrainingOptions(schedule="constant", learning_rate=0.1, **{"clip_norm": None, **options})
    optimiser = make_optimiser(made, learning_rate_schedule(made, 10))
    state = optimiser.init(weight)
    for _ in range(times):
        changes, state = optimiser.update(gradient, state, weight)
        weight = optax.apply_updates(weight, changes)  # type: ignore[assignment]
    return np.asarray(weight)


GRADIENT = np.array([[3.0, -4.0]], np.float32)
WEIGHT = np.array([[1.0, 2.0]], np.float32)


class TestOptimisers:
    def test_adamw_moves_by_the_corrected_moments_and_decays_apart_from_them(self):
        weight, first, second = WEIGHT.astype(np.float64), np.zeros((1, 2)), np.zeros((1, 2))
        for step in (1, 2, 3):
            first = 0.8 * first + 0.2 * GRADIENT
            second = 0.9 * second + 0.1 * GRADIENT**2
            moved = (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.9**step)) + 1e-8)
            weight = weight - 0.1 * (moved + 0.3 * weight)
        found = one_update(GRADIENT, WEIGHT, 3, betas=(0.8, 0.9), weight_decay=0.3)
        np.testing.assert_allclose(found, weight, rtol=1e-5)

    def test_sgd_goes_down_the_gradient(self):
        np.testing.assert_allclose(one_update(GRADIENT, WEIGHT, optimiser="sgd"), WEIGHT - 0.1 * GRADIENT, rtol=1e-6)

    def test_sgd_with_momentum_keeps_going(self):
        found = one_update(GRADIENT, WEIGHT, 2, optimiser="sgd", momentum=0.5)
        np.testing.assert_allclose(found, WEIGHT - 0.1 * GRADIENT * (1 + 1.5), rtol=1e-5)

    def test_sgd_adds_the_decay_to_the_gradient(self):
        found = one_update(GRADIENT, WEIGHT, optimiser="sgd", weight_decay=0.2)
        np.testing.assert_allclose(found, WEIGHT - 0.1 * (GRADIENT + 0.2 * WEIGHT), rtol=1e-6)

    @pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
    def test_vectors_are_not_decayed(self, optimiser):
        bias, nothing = WEIGHT[0], np.zeros(2, np.float32)
        np.testing.assert_array_equal(one_update(nothing, bias, optimiser=optimiser, weight_decay=0.5), bias)

    def test_a_gradient_longer_than_the_clip_norm_is_scaled_to_it(self):
        found = one_update(GRADIENT, WEIGHT, optimiser="sgd", clip_norm=1.0)
        np.testing.assert_allclose(found, WEIGHT - 0.1 * GRADIENT / 5, rtol=1e-6)

    def test_a_gradient_shorter_than_the_clip_norm_stays(self):
        found = one_update(GRADIENT, WEIGHT, optimiser="sgd", clip_norm=6.0)
        np.testing.assert_allclose(found, WEIGHT - 0.1 * GRADIENT, rtol=1e-6)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epochs": None}, "neither epochs nor max_steps is given"),
            ({"epochs": 0}, "epochs is 0, but must be >= 1"),
            ({"max_steps": -1}, "max_steps is -1"),
            ({"accumulate": 0}, "accumulate is 0"),
            ({"optimiser": "lion"}, "optimiser is 'lion', but must be one of ('adamw', 'sgd')"),
            ({"schedule": "step"}, "schedule is 'step'"),
            ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be a finite number > 0"),
            ({"learning_rate": math.nan}, "learning_rate is nan"),
            ({"clip_norm": -1.0}, "clip_norm is -1.0"),
            ({"weight_decay": math.inf}, "weight_decay is inf"),
            ({"betas": (0.9, 1.0)}, "betas is (0.9, 1.0), but must be two numbers in [0, 1)"),
            ({"momentum": 1.0}, "momentum is 1.0, but must be in [0, 1)"),
            ({"warmup_fraction": 1.0}, "warmup_fraction is 1.0"),
            ({"warmup_steps": 1, "warmup_fraction": 0.1}, "warmup_steps and warmup_fraction are both given"),
            ({"seed": -1}, "seed is -1"),
            ({"patience": 2}, "patience needs keep_best"),
            ({"keep_best": ("f1", "up")}, "keep_best is ('f1', 'up')"),
            ({"devices": 0}, "devices is 0"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused_by_name(self, options, message):
        with pytest.raises(InvalidOption) as refused:
            TrainingOptions(**options)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_what_only_says_how_often_to_write_does_not_decide_a_run(self):
        often = TrainingOptions(checkpoint_every=1, checkpoint_seconds=1.0, report_every=1, devices=4)
        assert often.deciding() == TrainingOptions().deciding()
        assert TrainingOptions(seed=1).deciding() != TrainingOptions().deciding()

    def test_the_better_figure_is_the_lower_or_the_higher_as_named_and_never_nan(self):
        lower, higher = KeepBest("loss", "min"), KeepBest("f1", "max")
        assert lower.better(1.0, 2.0)
        assert not lower.better(2.0, 1.0)
        assert higher.better(2.0, 1.0)
        assert not higher.better(1.0, 1.0)
        assert higher.better(0.0, None)
        assert not higher.better(math.nan, None)
