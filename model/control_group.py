"""The memory that the control groups of Linux leave to this process.

Files: https://docs.kernel.org/admin-guide/cgroup-v2.html, and for version 1 (a hierarchy for each controller)
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


class _Files(NamedTuple):
    """What a version calls the limit, the bytes in use and, in ``memory.stat``, those of files (with all below)."""

    limit: str
    used: str
    cached: tuple[str, ...]


_FIRST = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_SECOND = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def left_by_control_groups(groups: Path = _GROUPS, mount: Path = _MOUNT) -> float:
    """Bytes that may still be taken under the limits of this process's groups and of those around them; infinite: none.

    Pages of files are not counted as in use: the system takes them back before it refuses anything. What a group does
    not tell, or not in numbers, is no limit, and no use of it. ``groups`` lists this process's groups, which stand
    below ``mount``.
    """
    return min((_left(folder, files) for folder, files in _folders(groups, mount)), default=math.inf)


def _folders(groups: Path, mount: Path) -> Iterator[tuple[Path, _Files]]:
    """Each group, then those around it up to the mount, which in a container may be all of them that is to be seen."""
    for line in _text(groups).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (mount / "memory", _FIRST) if controllers else (mount, _SECOND)
        folder = root / path.lstrip("/")
        while folder != root:
            yield folder, files
            folder = folder.parent
        yield root, files


def _left(folder: Path, files: _Files) -> float:
    limit = _number(_text(folder / files.limit))
    if limit is None:
        return math.inf
    stats = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    cached = sum(_number(stats.get(key, "")) or 0 for key in files.cached)
    used = _number(_text(folder / files.used)) or 0
    return max(0, limit - max(0, used - cached))


def _number(text: str) -> int | None:
    """None for "max", and for what is no number."""
    return int(text) if text.strip().isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
