"""Engines measured side by side: each in a process of its own, which waits while another one works.

They take turns, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

Engine = Callable[[Any], Any]
"""Does what it is told and answers with the seconds that took, or more."""


def _serve(make: Callable[[], Engine], wire: Connection) -> None:
    engine = make()
    gc.disable()
    wire.send("ready")
    while (order := wire.recv()) is not None:
        wire.send(engine(order))


class Turns:
    """Engines that are ready, by name."""

    def __init__(self, wires: Mapping[str, Connection]) -> None:
        self._wires = wires

    def take(self, order: Any) -> dict[str, Any]:
        """What each engine answers to ``order``, one after the other."""
        answers = {}
        for name, wire in self._wires.items():
            wire.send(order)
            answers[name] = wire.recv()
        return answers


@contextmanager
def taking_turns(makers: Mapping[str, Callable[[], Engine]]) -> Iterator[Turns]:
    """Start each engine in a process of its own. ``makers`` must be picklable."""
    spawn = multiprocessing.get_context("spawn")
    wires: dict[str, Connection] = {}
    processes = []
    for name, make in makers.items():
        wires[name], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=_serve, args=(make, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # else an engine that dies would be waited for
        wires[name].recv()
    try:
        yield Turns(wires)
    finally:
        for wire, process in zip(wires.values(), processes, strict=True):
            if process.is_alive():
                wire.send(None)
            process.join()
