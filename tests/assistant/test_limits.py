"""A place among the requests at work, and who waits for one."""

from __future__ import annotations

import contextlib
import threading

import pytest

from capibara.assistant.limits import ConcurrencyLimit, StopSignal

PATIENCE = 60.0


class CtrlC(threading.Event):
    """Interrupts whoever looks at it the second time, in the midst of waiting."""

    looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            raise KeyboardInterrupt
        return super().is_set()


class Looked(threading.Event):
    """Lets a test know that somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def is_set(self) -> bool:
        self.seen.set()
        return super().is_set()


def at_once(places: ConcurrencyLimit) -> bool:
    """Whether there is a place for one who does not wait."""
    asked = False

    class Impatient(threading.Event):
        def is_set(self) -> bool:
            nonlocal asked
            before, asked = asked, True
            return before

    with places.entered(Impatient()) as entered:
        return entered


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_enter_as_the_limit_says_and_one_more_when_one_leaves(limit):
    places = ConcurrencyLimit(lambda: limit)
    with contextlib.ExitStack() as inside:
        for _ in range(limit - 1):
            assert inside.enter_context(places.entered(threading.Event()))
        with places.entered(threading.Event()) as entered:
            assert entered
            assert not at_once(places)
        assert at_once(places)


def test_a_limit_that_is_raised_lets_in_who_waits():
    limit, entered = 1, []
    places = ConcurrencyLimit(lambda: limit)
    waits = Looked()

    def wait() -> None:
        with places.entered(waits) as inside:
            entered.append(inside)

    with places.entered(threading.Event()):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.seen.wait(PATIENCE)
        assert entered == []
        limit = 2
        thread.join(PATIENCE)
    assert entered == [True]


def test_those_who_wait_enter_in_the_order_they_came():
    places, order, threads = ConcurrencyLimit(lambda: 1), [], []

    def wait(number: int, waits: Looked) -> None:
        with places.entered(waits):
            order.append(number)

    with places.entered(threading.Event()):
        for number in range(5):
            threads.append(threading.Thread(target=wait, args=(number, waits := Looked())))
            threads[-1].start()
            assert waits.seen.wait(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [0, 1, 2, 3, 4]


def test_one_who_is_interrupted_while_waiting_holds_up_nobody():
    places = ConcurrencyLimit(lambda: 1)
    with places.entered(threading.Event()), pytest.raises(KeyboardInterrupt), places.entered(CtrlC()):
        pytest.fail("there was no place")
    assert at_once(places)


def test_work_that_fails_gives_its_place_back():
    places = ConcurrencyLimit(lambda: 1)
    with pytest.raises(ValueError, match="broken"), places.entered(threading.Event()):
        raise ValueError("broken")
    assert at_once(places)


def test_one_whose_time_is_over_does_not_enter_although_there_is_room():
    with ConcurrencyLimit(lambda: 1).entered(StopSignal(None, 0.0)) as entered:
        assert not entered
