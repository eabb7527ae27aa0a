"""What a run tells: pace, time left, log and curve."""

from __future__ import annotations

import json
import math
import sys

import pytest

from capibara.model.training.curve import PlottingUnavailable, require_plotting, write_curve
from capibara.model.training.progress import Evaluation, History, Pace
from capibara.model.training.record import RunRecord
from capibara.model.training.training_log import TrainingLog
from capibara.model.training.update import UpdateFigures


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def figures(loss: float = 1.0, weight: float = 10.0) -> UpdateFigures:
    return UpdateFigures(loss, weight, 0.5, 0.1, True)


class TestPace:
    def test_time_left_is_that_of_the_updates_and_evaluations_to_come(self):
        clock = HandClock()
        pace = Pace(clock)
        pace.start()
        for _ in range(4):
            clock.now += 2
            pace.update(figures())
        clock.now += 100
        pace.evaluated(30)
        clock.now += 2
        pace.update(figures())
        assert pace.targets_per_second == 5
        assert pace.seconds_left(updates=10, evaluations=2) == 10 * 2 + 2 * 30

    def test_nothing_is_known_before_the_first_update(self):
        pace = Pace(HandClock())
        assert pace.seconds_left(10, 1) is None
        assert pace.targets_per_second == 0
        assert math.isnan(pace.loss)

    def test_the_loss_is_weighted_by_targets_and_forgets_the_start(self):
        pace = Pace(HandClock())
        pace.update(figures(loss=1000.0))
        for _ in range(49):
            pace.update(figures(loss=1.0, weight=10))
        pace.update(figures(loss=4.0, weight=490))
        assert pace.loss == pytest.approx((49 * 10 + 490 * 4) / (49 * 10 + 490))


class TestLog:
    def test_a_resumed_log_starts_with_what_was_done(self, tmp_path):
        path = tmp_path / "log.jsonl"
        path.write_text('{"step": 1, "loss": 9.0}\n{"step": 2, "los')
        log = TrainingLog(path, RunRecord([0.5, 0.25], [0.1, 0.2], [Evaluation(1, 0, {"f1": math.nan})]))
        log.update(3, 0.125, 0.3)
        log.close()
        assert [json.loads(line) for line in path.read_text().splitlines()] == [
            {"step": 1, "loss": 0.5, "learning_rate": 0.1},
            {"step": 1, "epoch": 0, "evaluation": {"f1": None}, "best": False},
            {"step": 2, "loss": 0.25, "learning_rate": 0.2},
            {"step": 3, "loss": 0.125, "learning_rate": 0.3},
        ]


class TestCurve:
    def test_it_is_a_png_of_the_losses_and_evaluations(self, tmp_path):
        pytest.importorskip("matplotlib")
        history = History(tuple(1 / step for step in range(1, 50)), (0.1,) * 49)
        evaluations = [Evaluation(24, 0, {"f1": 0.4}), Evaluation(49, 1, {"f1": 0.6, "exact": 0.5})]
        plain, evaluated = tmp_path / "plain.png", tmp_path / "evaluated.png"
        write_curve(plain, history)
        write_curve(evaluated, history, evaluations, title="reader")
        for path in (plain, evaluated):
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
        heights = [int.from_bytes(path.read_bytes()[20:24]) for path in (plain, evaluated)]
        assert heights[1] > heights[0] > 300

    def test_a_run_without_updates_has_a_curve_too(self, tmp_path):
        pytest.importorskip("matplotlib")
        write_curve(tmp_path / "curve.png", History((), ()))
        assert (tmp_path / "curve.png").stat().st_size > 1000

    def test_without_matplotlib_the_way_out_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(PlottingUnavailable, match=r"needs matplotlib, .* pip install matplotlib"):
            write_curve(tmp_path / "curve.png", History((1.0,), (0.1,)))
        with pytest.raises(PlottingUnavailable):
            require_plotting()
