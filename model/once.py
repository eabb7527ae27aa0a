"""A value made when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Makes its value once, in the thread that asks first, while others wait; what failed is tried again.

    What makes it is let go of then: it often belongs to the one that keeps this, and weights would wait for Python's
    collector of cycles.

    Each has its own lock: `functools.cached_property` of Python 3.11 has one for all instances of a class.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._made: list[T] = []
        self._lock = threading.Lock()

    def __call__(self) -> T:
        with self._lock:
            if self._make is not None:
                self._made.append(self._make())
                self._make = None
            return self._made[0]

    @property
    def made(self) -> bool:
        """It has been asked for, and is there."""
        return bool(self._made)
