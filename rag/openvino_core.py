"""OpenVINO's ``Core``: one for the process."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openvino import Core


@functools.cache
def shared_core() -> Core:
    """The process's core, which is never let go of.

    Its CPU plugin gives the thread that first compiles a stack for signals, and takes that memory back when the last
    core goes, on whichever thread (openvino 2026.4): the next signal to the first thread, as Ctrl-C, then ends the
    process by a segmentation fault.

    Raises:
        ImportError: openvino is not installed.
    """
    return import_quietly().Core()


def import_quietly() -> ModuleType:
    """Import openvino without ``openvino_telemetry``, which forks a process that reports each import to its makers.

    Raises:
        ImportError: openvino is not installed.
    """
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        # A module that is None counts as not installed; openvino then takes a stub of its own.
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
        try:
            return importlib.import_module("openvino")
        finally:
            del sys.modules["openvino_telemetry"]
    return importlib.import_module("openvino")
