"""Decides when the contents of watched files have changed for good, and not half-way through a save."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .debounce import Debounce
from .fingerprint import EMPTY

Contents = Mapping[Path, Mapping[Path, str | None]]
"""For every watched path what `fingerprint.contents` found."""


class Settling:
    """What was settled last, and whether new contents are. Pure: contents and time (seconds) are given.

    A hint makes it due, see `Debounce`. Contents that look like the middle of a save (a file is being written, has
    become empty, or is gone) wait for another hint or until ``longest`` has passed.
    """

    def __init__(self, quiet: float, longest: float) -> None:
        self._debounce = Debounce(quiet, longest)
        self._settled: Contents = {}

    @property
    def settled(self) -> Contents:
        """The contents that were settled last."""
        return self._settled

    def start_from(self, found: Contents) -> None:
        """Watch the paths in ``found``: those watched already keep what was settled, new ones begin as found."""
        self._settled = {path: self._settled.get(path, held) for path, held in found.items()}

    def hint(self, now: float) -> None:
        """The contents may have changed, or are still changing."""
        self._debounce.hint(now)

    def unsettle(self) -> None:
        """What was settled last was not taken: whatever is there when it settles again counts as a change."""
        self._settled = {path: {} for path in self._settled}

    def overdue(self, now: float) -> bool:
        """Whether nothing may be waited for any longer."""
        return self._debounce.overdue(now)

    def due_in(self, now: float) -> float | None:
        """Seconds until contents must be given to `settles`; None where there is no need."""
        return self._debounce.due_in(now)

    def settles(self, found: Contents, now: float, *, being_written: bool = False) -> bool:
        """Whether ``found`` is a change that has settled; it is what was settled last from then on."""
        if found == self._settled:
            self._debounce.reset()
            return False
        if (being_written or self._looks_half_saved(found)) and not self._debounce.overdue(now):
            self._debounce.hold()
            return False
        self._debounce.reset()
        self._settled = found
        return True

    def _looks_half_saved(self, found: Contents) -> bool:
        for path, held in found.items():
            before = self._settled.get(path, {})
            gone = any(value is not None and held.get(member) is None for member, value in before.items())
            emptied = any(value == EMPTY != before.get(member) for member, value in held.items())
            if gone or emptied:
                return True
        return False
