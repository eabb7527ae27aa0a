"""Waits until hints of a change have ended, but never without end."""

from __future__ import annotations

import math


class Debounce:
    """A trailing debounce with a maximum wait, so that hints without end cannot starve it. All times in seconds.

    It is due ``quiet`` after the last hint, at the latest ``longest`` after the first one. Times are those of any
    clock that never goes back.

    Raises:
        ValueError: not ``0 < quiet <= longest``.
    """

    def __init__(self, quiet: float, longest: float) -> None:
        if not 0 < quiet <= longest:
            raise ValueError(f"0 < quiet <= longest must hold, not quiet={quiet}, longest={longest}")
        self._quiet = quiet
        self._longest = longest
        self._first: float | None = None
        self._last = 0.0

    def hint(self, now: float) -> None:
        """Something may have changed."""
        if self._first is None:
            self._first = now
        self._last = now

    def hold(self) -> None:
        """It was due too early: wait for another hint, or for the maximum."""
        self._last = math.inf

    def due_in(self, now: float) -> float | None:
        """Seconds until it is due, 0.0 from then on; None where nothing is pending."""
        if self._first is None:
            return None
        return max(0.0, min(self._last + self._quiet, self._first + self._longest) - now)

    def overdue(self, now: float) -> bool:
        """Whether the maximum wait is over."""
        return self._first is not None and now >= self._first + self._longest

    def reset(self) -> None:
        """Nothing is pending any more."""
        self._first = None
