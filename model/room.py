"""Which of the models that are loaded have to go for another one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import ModelTooLarge
from .footprints import Prediction
from .memory_gauge import MemoryGauge
from .model_slot import Slot


def make_room(
    name: str, prediction: Prediction, gauge: MemoryGauge, loaded: Sequence[Slot], limit_bytes: int | None
) -> list[Slot]:
    """Those of ``loaded`` that go for the model ``name``, the least recently used first; nothing is unloaded here.

    There must be room in the memory of ``gauge``, where models stand in its way that have a device in common with it,
    and under the limit, which all models together have to keep to, wherever they lie.

    Raises:
        ModelTooLarge: all that can go is not enough.
    """
    room, needed = _Room(gauge, loaded, limit_bytes), prediction.needed
    before = room.bytes
    idle = [one for one in sorted(loaded, key=lambda one: one.used_at) if not one.stays]
    going: list[Slot] = []
    for one in idle:
        if room.in_memory < needed and room.is_beside(one):
            going.append(room.without(one))
    for one in idle:
        if room.under_limit < needed and one not in going:
            going.append(room.without(one))
    if room.bytes < needed:
        stays = [one.stays for one in loaded if one.stays and (room.under_limit < needed or room.is_beside(one))]
        available = max(before, 0)
        raise ModelTooLarge(name, needed, available, max(room.bytes, 0) - available, stays)
    return going


class _Room:
    """Bytes for one more model, once the caches of those that are loaded have grown to their full length.

    A model's bytes are those of all its shares; each of its devices has one of them.
    """

    def __init__(self, gauge: MemoryGauge, loaded: Sequence[Slot], limit_bytes: int | None) -> None:
        self._shares, self._free = gauge.shares, gauge.free()
        self.under_limit = math.inf if limit_bytes is None else limit_bytes - sum(one.held for one in loaded)
        for one in loaded:
            self._add(one, -one.caches)

    @property
    def in_memory(self) -> int:
        return self._shares * min(self._free.values())

    @property
    def bytes(self) -> int:
        return int(min(self.in_memory, self.under_limit))

    def is_beside(self, one: Slot) -> bool:
        return one.gauge is not None and not self._free.keys().isdisjoint(one.gauge.devices)

    def without(self, one: Slot) -> Slot:
        self._add(one, one.held)
        self.under_limit += one.held
        return one

    def _add(self, one: Slot, size: int) -> None:
        if one.gauge is not None:
            for device in self._free.keys() & set(one.gauge.devices):
                self._free[device] += size // one.gauge.shares
