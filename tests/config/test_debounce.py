"""Hints are waited out, but not without end."""

from __future__ import annotations

import pytest

from capibara.config.debounce import Debounce


def test_nothing_is_pending_before_a_hint_and_after_a_reset():
    debounce = Debounce(quiet=1, longest=5)
    assert debounce.due_in(0) is None
    debounce.hint(0)
    debounce.reset()
    assert debounce.due_in(9) is None
    assert not debounce.overdue(9)


@pytest.mark.parametrize(("hints", "due"), [([0], 1), ([0, 0.5], 1.5), ([0, 0.9, 1.8, 2.7], 3.7)])
def test_it_is_due_when_it_was_quiet_after_the_last_hint(hints, due):
    debounce = Debounce(quiet=1, longest=5)
    for at in hints:
        debounce.hint(at)
    assert debounce.due_in(hints[-1]) == pytest.approx(1)
    assert debounce.due_in(due) == 0.0
    assert not debounce.overdue(due)


def test_hints_without_end_cannot_starve_it():
    debounce = Debounce(quiet=1, longest=5)
    fired = []
    for tick in range(100):
        now = tick * 0.25
        debounce.hint(now)
        if debounce.due_in(now) == 0.0:
            fired.append(now)
            debounce.reset()
    assert fired == [5.0, 10.25, 15.5, 20.75]


def test_held_back_it_waits_for_the_maximum():
    debounce = Debounce(quiet=1, longest=5)
    debounce.hint(10)
    debounce.hold()
    assert debounce.due_in(11) == 4
    assert not debounce.overdue(14.9)
    assert debounce.overdue(15)


def test_held_back_it_is_due_soon_after_another_hint():
    debounce = Debounce(quiet=1, longest=5)
    debounce.hint(10)
    debounce.hold()
    debounce.hint(12)
    assert debounce.due_in(12) == 1


@pytest.mark.parametrize(("quiet", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_waits_that_make_no_sense_are_refused(quiet, longest):
    with pytest.raises(ValueError, match="quiet"):
        Debounce(quiet, longest)
