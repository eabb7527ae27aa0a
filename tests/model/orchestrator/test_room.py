"""Which models go for another one: by the memory that they lie in, and by a limit for all of them together."""

from __future__ import annotations

import pytest

from capibara.config.schema import ModelSettings
from capibara.model.errors import ModelTooLarge
from capibara.model.footprints import Footprint, Prediction
from capibara.model.memory_gauge import DeviceMemory, MeshMemory
from capibara.model.model_slot import Slot
from capibara.model.room import make_room


class Chip:
    """A device of 100 bytes."""

    def __init__(self, used: int = 0) -> None:
        self.used = used

    def memory_stats(self):
        return {"bytes_limit": 100, "bytes_in_use": self.used}


def prediction(size: int, caches: int = 0) -> Prediction:
    return Prediction("", Footprint(size, size), caches, size, False)


def loaded(name: str, gauge, size: int, used_at: int, caches: int = 0, **options) -> Slot:
    predicted = prediction(size, caches)
    return Slot(
        name, ModelSettings(), False, used_at=used_at, state="loaded", gauge=gauge, prediction=predicted, **options
    )


def names(slots) -> list[str]:
    return [slot.name for slot in slots]


def test_the_limit_is_for_models_of_all_memories_together():
    one, other = DeviceMemory(Chip(60)), DeviceMemory(Chip())
    there = [loaded("a", one, 60, 1)]
    assert names(make_room("b", prediction(50), other, there, None)) == []
    assert names(make_room("b", prediction(50), other, there, 110)) == []
    assert names(make_room("b", prediction(50), other, there, 100)) == ["a"]


def test_a_model_of_another_memory_in_use_is_told_of_where_the_limit_is_what_lacks():
    one, other = DeviceMemory(Chip(60)), DeviceMemory(Chip())
    there = [loaded("a", one, 60, 1, leases=1)]
    with pytest.raises(ModelTooLarge, match="'a' is in use") as raised:
        make_room("b", prediction(50), other, there, 100)
    assert (raised.value.available, raised.value.freed) == (40, 0)
    with pytest.raises(ModelTooLarge) as raised:
        make_room("b", prediction(120), other, there, None)
    assert "in use" not in str(raised.value)


def test_a_model_in_other_memory_does_not_go_where_memory_is_what_lacks():
    one, other = DeviceMemory(Chip(60)), DeviceMemory(Chip(60))
    there = [loaded("a", one, 60, 1), loaded("b", other, 60, 2)]
    assert names(make_room("c", prediction(50), other, there, None)) == ["b"]
    assert names(make_room("c", prediction(50), other, there, 1000)) == ["b"]


def test_what_goes_for_memory_counts_for_the_limit():
    one, other = DeviceMemory(Chip(60)), DeviceMemory(Chip(60))
    there = [loaded("a", one, 60, 1), loaded("b", other, 60, 2)]
    assert names(make_room("c", prediction(50), other, there, 120)) == ["b"]


def test_a_model_on_one_device_of_a_mesh_goes_for_a_model_over_all_of_it():
    chips = Chip(60), Chip()
    there = [loaded("a", DeviceMemory(chips[0]), 60, 1)]
    assert names(make_room("b", prediction(80), MeshMemory(chips, 2), there, None)) == []
    assert names(make_room("b", prediction(100), MeshMemory(chips, 2), there, None)) == ["a"]
    with pytest.raises(ModelTooLarge) as raised:
        make_room("b", prediction(210), MeshMemory(chips, 2), there, None)
    assert (raised.value.available, raised.value.freed) == (2 * 40, 2 * 60)


def test_a_model_over_a_mesh_frees_its_share_alone_of_each_device():
    chips = Chip(30), Chip(30)
    there = [loaded("a", MeshMemory(chips, 2), 60, 1)]
    assert names(make_room("b", prediction(100), DeviceMemory(chips[0]), there, None)) == ["a"]
    with pytest.raises(ModelTooLarge) as raised:
        make_room("b", prediction(101), DeviceMemory(chips[0]), there, None)
    assert (raised.value.available, raised.value.freed) == (70, 30)


def test_caches_that_have_yet_to_grow_are_kept_free():
    gauge = DeviceMemory(Chip(40))
    there = [loaded("a", gauge, 40, 1, caches=20)]
    assert names(make_room("b", prediction(40), gauge, there, None)) == []
    assert names(make_room("b", prediction(41), gauge, there, None)) == ["a"]
