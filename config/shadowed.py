"""Changed values of files that have no effect, because a stronger source says otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from .keys import dotted
from .load import LoadedSettings, Sources
from .sources import Entry

_FROM_FILES = ("preset", "file")


def shadowed(before: Sources, now: Sources, loaded: LoadedSettings) -> tuple[str, ...]:
    """One line for each setting that files say differently than ``before`` while something else decides it."""
    old, new = _said_by_files(before.entries), _said_by_files(now.entries)
    lines = []
    for path, entry in new.items():
        changed = path not in old or old[path].value != entry.value
        origin = loaded.origins.get(dotted(path))
        if changed and origin is not None and origin.kind not in _FROM_FILES:
            lines.append(f"{entry.origin}: {dotted(path)} has no effect, because {origin} wins")
    return tuple(lines)


def _said_by_files(entries: Sequence[Entry]) -> dict[tuple[str, ...], Entry]:
    return {entry.path: entry for entry in entries if entry.origin.kind in _FROM_FILES}
