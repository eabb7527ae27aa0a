"""Runs that are killed, cancelled, or out of disk, and the checkpoints from which they go on."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from capibara.model.training.checkpoints import Checkpoints, Snapshot
from capibara.model.training.errors import CheckpointDamaged, CheckpointMismatch
from capibara.model.training.options import TrainingOptions

from .regression import Sine, error_of, furthest, leaves, long_run, run, same, weights

_PROGRAM = Path(__file__).with_name("regression.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The long run, not interrupted."""
    return long_run(tmp_path_factory.mktemp("whole"))


def program(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(_PROGRAM), str(folder), what]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)


def saved(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "last.npz") as archive:
        return [archive[name] for name in archive.files]


def kept(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


class TestInterruption:
    def test_a_killed_run_goes_on_to_the_same_end(self, tmp_path, whole):
        for past in (2, 12):  # killed twice, the second time after it was resumed
            with subprocess.Popen([sys.executable, str(_PROGRAM), str(tmp_path), "slow"]) as process:
                wait_for_checkpoint(tmp_path, past, process)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
        told = json.loads(program(tmp_path, "plain").stdout)
        assert told["reason"] == "finished"
        np.testing.assert_allclose(told["losses"], whole.history.losses, atol=1e-6)
        assert furthest(saved(tmp_path), whole.trainable) <= 1e-6

    def test_sigterm_writes_a_checkpoint_and_ends_the_run_in_order(self, tmp_path, whole):
        told = json.loads(program(tmp_path, "terminated").stdout)
        assert told["reason"] == "cancelled"
        assert told["step"] in kept(tmp_path)
        assert told["losses"] == list(whole.history.losses[: told["step"]])

    def test_the_best_weights_survive_a_resumption(self, tmp_path):
        calls: list[int] = []

        def best_at_first(_: Any) -> dict[str, float]:
            calls.append(1)
            return {"f1": 0.9 if len(calls) == 1 else 0.5}

        constant = {"schedule": "constant", "learning_rate": 0.02}
        options = TrainingOptions(epochs=4, keep_best=("f1", "max"), checkpoint_every=1, **constant)
        with pytest.raises(InterruptedError):
            run(tmp_path / "1", options, batches=Breaking(after=13), evaluate=best_at_first)
        assert kept(tmp_path / "1") == [5, 12, 13]
        result = run(tmp_path / "1", options, evaluate=best_at_first)
        until_best = run(tmp_path / "2", TrainingOptions(epochs=1, **constant))
        assert result.best_step == 5
        assert [evaluation.best for evaluation in result.evaluations] == [True, False, False, False]
        assert same(result.best, until_best.trainable)

    def test_weights_are_no_longer_the_best_once_their_checkpoint_is_gone(self, tmp_path):
        figures = iter([0.5, 0.9, 0.4, 0.6, 0.7])
        options = TrainingOptions(epochs=4, keep_best=("f1", "max"), checkpoint_every=1)
        with pytest.raises(InterruptedError):
            run(tmp_path, options, batches=Breaking(after=18), evaluate=lambda _: {"f1": next(figures)})
        shutil.rmtree(tmp_path / "checkpoints" / "10")
        result = run(tmp_path, options, evaluate=lambda _: {"f1": next(figures)})
        assert [evaluation.best for evaluation in result.evaluations] == [False, False, False, True]


class Breaking(Sine):
    """Raises after so many batches of the run."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def epoch(self, number):
        for place, batch in enumerate(super().epoch(number)):
            if number * len(self.sizes) + place == self.after:
                raise InterruptedError
            yield batch


GIVEN = {"data": "a1", "base": "b1"}


class TestRefusals:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("run")
        run(folder, TrainingOptions(epochs=1), fingerprint=GIVEN)
        return folder

    @pytest.mark.parametrize(
        ("options", "fingerprint", "message"),
        [
            ({"learning_rate": 0.5}, {}, "learning_rate = 0.001, this one has 0.5"),
            ({"seed": 3}, {}, "seed = 0, this one has 3"),
            ({"keep_best": ("error", "min")}, {}, "keep_best = None, this one has ['error', 'min']"),
            ({}, {"data": "a2"}, "data = 'a1', this one has 'a2'"),
            ({}, {"objective": "c1"}, "objective = None, this one has 'c1'"),
        ],
    )
    def test_another_run_is_refused_by_what_differs(self, folder, options, fingerprint, message):
        with pytest.raises(CheckpointMismatch) as refused:
            run(
                folder,
                TrainingOptions(epochs=1, **options),
                evaluate=error_of,
                fingerprint={"data": "a1", "base": "b1", **fingerprint},
            )
        assert message in str(refused.value)
        assert str(folder) in str(refused.value)

    def test_data_of_another_length_are_refused(self, folder):
        with pytest.raises(CheckpointMismatch, match=r"updates per epoch = \[5\], this one has \[2\]"):
            run(folder, TrainingOptions(epochs=1), batches=Sine((8, 8)), fingerprint={"data": "a1", "base": "b1"})

    def test_other_weights_are_refused_by_name_and_shape(self, folder):
        with pytest.raises(CheckpointMismatch, match=r"holds other weights: it has .*16.*, the run .*17") as refused:
            run(folder, TrainingOptions(epochs=1), trainable=weights(hidden=17), fingerprint=GIVEN)
        assert "\n" not in str(refused.value)
        assert str(refused.value).endswith(": name another folder, or delete that one")

    def test_another_run_with_other_weights_is_refused_by_what_it_is(self, folder):
        with pytest.raises(CheckpointMismatch, match="data = 'a1', this one has 'a2': name another folder"):
            run(folder, TrainingOptions(epochs=1), trainable=weights(hidden=17), fingerprint={**GIVEN, "data": "a2"})

    def test_how_often_to_write_may_change(self, folder):
        options = TrainingOptions(epochs=1, checkpoint_every=1, report_every=1)
        assert run(folder, options, fingerprint={"data": "a1", "base": "b1"}).step == 5

    def test_a_run_that_must_be_new_refuses_a_folder_that_holds_one(self, folder):
        with pytest.raises(CheckpointMismatch, match="holds a run that has made 5 updates: resume it, or name another"):
            run(folder, TrainingOptions(epochs=1), resume=False)


def damage(checkpoint: Path) -> None:
    """Cuts each file of the arrays to half."""
    for path in (checkpoint / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class TestDamage:
    def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_taken(self, tmp_path, whole, caplog):
        with pytest.raises(InterruptedError):
            long_run(tmp_path, report=breaking_after(11))
        last = kept(tmp_path)[-1]
        damage(tmp_path / "checkpoints" / str(last))
        with caplog.at_level(logging.WARNING, "capibara"):
            result = long_run(tmp_path)
        assert f"{last} cannot be read" in caplog.text
        assert (tmp_path / "checkpoints" / f"{last}.damaged").is_dir()
        assert result.history == whole.history
        assert same(result.trainable, whole.trainable)

    def test_a_damaged_best_checkpoint_is_set_aside_and_the_run_goes_on(self, tmp_path, caplog):
        errors = iter([1.0, 2.0, 3.0, 9.0])  # the first epoch, of five updates, is the best

        def resumed(report: Any = None):
            options = TrainingOptions(epochs=4, keep_best=("error", "min"), report_every=1)
            return run(tmp_path, options, evaluate=lambda _: {"error": next(errors)}, report=report)

        with pytest.raises(InterruptedError):
            resumed(breaking_after(16))
        assert kept(tmp_path) == [5, 10, 15]
        damage(tmp_path / "checkpoints" / "5")
        with caplog.at_level(logging.WARNING, "capibara"):
            result = resumed()
        assert "5 cannot be read" in caplog.text
        assert (tmp_path / "checkpoints" / "5.damaged").is_dir()
        assert (result.reason, result.best_step) == ("finished", 20)
        assert same(result.best, result.trainable)

    def test_nothing_but_damaged_checkpoints_is_an_error(self, tmp_path):
        run(tmp_path, TrainingOptions(epochs=2))
        for step in kept(tmp_path):
            damage(tmp_path / "checkpoints" / str(step))
        for _ in range(2):
            with pytest.raises(CheckpointDamaged, match=r"no checkpoint in .* can be read: delete the folder"):
                run(tmp_path, TrainingOptions(epochs=2))

    def test_what_a_killed_write_left_behind_is_removed(self, tmp_path):
        for name in ("5.orbax-checkpoint-tmp", "3.deleted"):
            (tmp_path / name / "arrays").mkdir(parents=True)
        with Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.steps() == []
        assert kept_in(tmp_path) == []


def breaking_after(step: int):
    def report(progress: Any) -> None:
        if progress.step >= step:
            raise InterruptedError

    return report


class Pair(NamedTuple):
    a: Any
    b: Any


def snapshot(step: int) -> Snapshot:
    arrays = {"x.y": Pair(np.full((3, 4), step, np.float32), np.int32(step)), "x": {"y": np.zeros(2, np.float32)}}
    return Snapshot(step, arrays, {"note": step})


class TestKeeping:
    def test_the_last_two_and_the_best_stay(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            for step, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
                checkpoints.save(snapshot(step), best=best)
            checkpoints.wait()
            assert checkpoints.steps() == [2, 4, 5]

    def test_what_is_read_is_what_was_written_with_names_and_types(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(snapshot(7), best=None)
        with Checkpoints(tmp_path) as checkpoints:
            found = checkpoints.latest(snapshot(0).arrays)
        assert found is not None
        assert (found.step, found.record) == (7, {"note": 7})
        assert isinstance(found.arrays["x.y"], Pair)
        assert same(found.arrays, snapshot(7).arrays)
        assert [leaf.dtype for leaf in leaves(found.arrays)] == [leaf.dtype for leaf in leaves(snapshot(7).arrays)]

    def test_an_empty_folder_has_no_checkpoint(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.latest(snapshot(0).arrays) is None


class TestFullDisk:
    def test_a_full_disk_costs_a_warning_and_the_earlier_checkpoint_stays(self, tmp_path, whole):
        done = program(tmp_path, "full")
        told = json.loads(done.stdout)
        assert "after update 8 is not written (File too large); the one after update" in done.stderr
        assert told["reason"] == "finished"
        assert told["losses"] == list(whole.history.losses)
        assert same(saved(tmp_path), leaves(whole.trainable))
        assert kept(tmp_path)[-1] == told["step"]

    def test_a_run_killed_while_the_disk_is_full_goes_on_from_the_earlier_checkpoint(self, tmp_path, whole):
        command = [sys.executable, str(_PROGRAM), str(tmp_path), "full-killed"]
        assert subprocess.run(command, check=False, capture_output=True, timeout=200).returncode == -signal.SIGKILL
        assert max(int(name) for name in kept_in(tmp_path / "checkpoints") if name.isdigit()) <= 6
        told = json.loads(program(tmp_path, "plain").stdout)
        assert told["losses"] == list(whole.history.losses)
        assert same(saved(tmp_path), leaves(whole.trainable))

    def test_no_write_is_begun_that_cannot_fit(self, tmp_path, monkeypatch, caplog):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(snapshot(1), best=None)
            checkpoints.wait()
            usage = shutil.disk_usage(tmp_path)._replace(free=100)
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
            with caplog.at_level(logging.WARNING, "capibara"):
                checkpoints.save(snapshot(2), best=None)
        assert "after update 2 is not written" in caplog.text
        assert "100 are free); the one after update 1 stays" in caplog.text
        assert kept_in(tmp_path) == ["1"]


def kept_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for_checkpoint(folder: Path, past: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        names = [path.name for path in folder.glob("checkpoints/*")]
        if any(name.isdigit() and int(name) > past for name in names):
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint after update {past} was written")
