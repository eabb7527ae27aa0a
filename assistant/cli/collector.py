"""Python's garbage collector in commands that run for long."""

from __future__ import annotations

import gc


def leave_out_what_is_loaded() -> None:
    """Call it once models are loaded: libraries and models stay, and need not be searched for garbage again.

    Otherwise every full collection goes through some 250,000 objects, and holds up every thread for about 0.2 s,
    several steps of an answer. A program that uses the library decides that for itself.
    """
    gc.collect()
    gc.freeze()
