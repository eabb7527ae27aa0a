"""What work of hours says of itself where there is no terminal."""

from __future__ import annotations

import pytest

from capibara.assistant.cli.progress import CountProgress, LongProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_each_stretch_of_work_says_a_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with LongProgress("steps", Clock()) as bar:
        bar.update("searching", 0, 87_599)
        assert lines(capsys) == ["capibara: searching: 0 of 87,599 steps"]
        bar.update("searching", 500, 87_599)
        bar.update("epoch 1 of 2", 1, 1_815)
        assert lines(capsys) == ["capibara: epoch 1 of 2: 1 of 1,815 steps"]


def test_a_line_a_minute_tells_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with LongProgress("steps", clock) as bar:
        for second in range(0, 150, 10):
            clock.now = second
            bar.update("epoch 1 of 1, loss 3.100", second, 700)
    assert lines(capsys) == [
        "capibara: epoch 1 of 1, loss 3.100: 0 of 700 steps",
        "capibara: epoch 1 of 1, loss 3.100: 60 of 700 steps, 11 min left",
        "capibara: epoch 1 of 1, loss 3.100: 120 of 700 steps, 10 min left",
    ]


def test_the_end_is_less_than_a_minute_away(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with LongProgress("steps", clock) as bar:
        bar.update("reading", 0, 100)
        clock.now = 70
        bar.update("reading", 90, 100)
    assert lines(capsys)[-1] == "capibara: reading: 90 of 100 steps, less than a minute left"


def test_work_of_unknown_size_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with LongProgress("questions", Clock()) as bar:
        bar.update("reading", 7, None)
    assert lines(capsys) == ["capibara: reading: 7 questions"]


def test_shorter_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with CountProgress("files") as bar:
        bar.update("reading", 7, 9)
    assert lines(capsys) == []
