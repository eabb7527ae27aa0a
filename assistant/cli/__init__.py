"""The command line: ``capibara``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 success; 1 the work failed, wholly or in part; 2 wrong usage or settings; 130 interrupted by Ctrl-C.
    """
    try:
        from .app import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return 130
