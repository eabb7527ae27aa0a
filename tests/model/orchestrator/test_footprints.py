"""What a model will take is known before it is loaded: by arithmetic at first, by what was measured from then on."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass

import numpy as np
import pytest

from capibara.config.schema import ModelSettings
from capibara.model import ModelNotFound
from capibara.model.footprints import Footprint, Footprints
from capibara.model.memory import available_bytes, estimate_for
from capibara.model.memory_gauge import DeviceMemory, HostMemory, MemoryWatch, MeshMemory, gauge_for, return_freed

from ..test_folder import write_folder

MIB = 2**20
CACHE = 2 * 4 * 2 * 2 * 512 * 8
"""Bytes of keys and values of one generation: float32, two layers, two key heads, 512 slots, heads of 8 values."""


@dataclass(frozen=True)
class Books:
    """A device with so many bytes, and so many of them in use."""

    limit: int
    used: int

    def memory_stats(self):
        return {"bytes_limit": self.limit, "bytes_in_use": self.used, "num_allocs": 1}


@pytest.fixture(scope="module")
def settings(tiny, tmp_path_factory):
    where = tmp_path_factory.mktemp("models")
    write_folder(where / "m", tiny)
    return ModelSettings(path=str(where / "m"), compute="float32", context_tokens=256)


@pytest.fixture
def footprints(tmp_path):
    return Footprints(tmp_path / "made" / "footprints.json")


def test_what_was_never_loaded_is_predicted_by_arithmetic(footprints, settings):
    expected = estimate_for(settings)
    found = footprints.predict(settings, HostMemory())
    assert not found.measured
    assert found.caches == expected.cache
    assert found.footprint == Footprint(expected.loaded, expected.loaded + expected.weights)
    assert found.needed == expected.peak


def test_a_device_of_its_own_never_holds_the_weights_twice(footprints, settings):
    found = footprints.predict(settings, DeviceMemory(Books(1000, 0)))
    assert found.footprint.peak == found.footprint.loaded


def test_what_was_measured_is_predicted_and_caches_are_still_added(footprints, settings):
    before = footprints.predict(settings, HostMemory())
    footprints.record(before, Footprint(200 * MIB, 300 * MIB))
    after = footprints.predict(settings, HostMemory())
    assert after.measured
    assert after.footprint == Footprint(200 * MIB, 300 * MIB)
    assert after.caches == before.caches
    assert after.needed == max(300 * MIB, 200 * MIB + before.caches)


def test_a_model_is_never_believed_to_be_smaller_than_its_weights(footprints, settings):
    before = footprints.predict(settings, HostMemory())
    footprints.record(before, Footprint(0, 0))
    after = footprints.predict(settings, HostMemory())
    assert after.footprint == Footprint(before.weights, before.weights)


def test_what_was_measured_of_one_kind_says_nothing_of_another(footprints, settings):
    footprints.record(footprints.predict(settings, HostMemory()), Footprint(MIB, MIB))
    assert footprints.predict(settings.model_copy(update={"context_tokens": 128}), HostMemory()).measured
    assert not footprints.predict(settings.model_copy(update={"compute": "int8"}), HostMemory()).measured
    assert not footprints.predict(settings, DeviceMemory(Books(1, 1))).measured


@pytest.mark.parametrize(("at_once", "caches"), [(1, 1), (2, 2), (3, 4), (8, 8 + 3), (20, 20 + 3)])
def test_caches_are_counted_of_all_that_run_at_once_and_of_what_fills_up_their_steps(settings, at_once, caches):
    many = settings.model_copy(update={"concurrent_generations": at_once, "prefix_cache_mib": 0})
    assert estimate_for(many).cache == caches * CACHE


def test_beginnings_of_earlier_prompts_are_counted(settings):
    none = estimate_for(settings.model_copy(update={"prefix_cache_mib": 0}))
    assert estimate_for(settings.model_copy(update={"prefix_cache_mib": 7})).cache == none.cache + 7 * MIB


def test_caches_are_counted_in_the_sizes_that_they_come_in(settings):
    caches = [estimate_for(settings.model_copy(update={"context_tokens": tokens})).cache for tokens in (128, 512, 600)]
    assert caches[0] == caches[1]
    assert caches[2] - 256 * MIB == 2 * (caches[1] - 256 * MIB)


def test_a_matrix_that_a_step_makes_of_weights_in_groups_is_counted(settings):
    rounded = estimate_for(settings.model_copy(update={"compute": "int4-weights"}))
    assert rounded.unrounded == 4 * 260 * 32  # the embedding
    assert estimate_for(settings).unrounded == 0
    assert rounded.loaded == rounded.weights + rounded.unrounded + (
        estimate_for(settings).loaded - estimate_for(settings).weights
    )


def test_a_model_that_drafts_is_counted_with_its_weights_its_caches_and_its_steps(footprints, settings):
    own, drafted = estimate_for(settings), settings.model_copy(update={"draft": settings.path})
    both = estimate_for(drafted)
    drafting = settings.concurrent_generations * CACHE
    assert (both.weights, both.cache, both.programs) == (2 * own.weights, own.cache + drafting, 2 * own.programs)
    footprints.record(footprints.predict(settings, HostMemory()), Footprint(MIB, MIB))
    assert not footprints.predict(drafted, HostMemory()).measured


@pytest.mark.parametrize("kept", ["{", "[]", '{"x": {"loaded": 5}}', '{"x": {"loaded": 5, "peak": 4}}', '{"x": 3}'])
def test_a_damaged_file_is_told_of_and_made_again(footprints, settings, tmp_path, caplog, kept):
    file = tmp_path / "made" / "footprints.json"
    file.parent.mkdir()
    file.write_text(kept)
    found = footprints.predict(settings, HostMemory())
    assert not found.measured
    assert "is damaged" in caplog.text
    footprints.record(found, Footprint(MIB, 2 * MIB))
    assert list(json.loads(file.read_text()).values()) == [{"loaded": MIB, "peak": 2 * MIB}]


def test_a_file_that_cannot_be_written_is_told_of(settings, tmp_path, caplog):
    (tmp_path / "made").write_text("a file where a folder should be")
    footprints = Footprints(tmp_path / "made" / "footprints.json")
    footprints.record(footprints.predict(settings, HostMemory()), Footprint(MIB, MIB))
    assert "cannot be noted" in caplog.text


def test_a_file_that_cannot_be_put_in_its_place_leaves_no_half_of_it(settings, tmp_path, caplog):
    footprints = Footprints(tmp_path / "made" / "footprints.json")
    prediction = footprints.predict(settings, HostMemory())
    (tmp_path / "made" / "footprints.json" / "in the way").mkdir(parents=True)
    footprints.record(prediction, Footprint(MIB, MIB))
    assert "cannot be noted" in caplog.text
    assert [each.name for each in (tmp_path / "made").iterdir()] == ["footprints.json"]


def test_a_model_that_is_not_there_cannot_be_predicted(footprints, tmp_path):
    with pytest.raises(ModelNotFound):
        footprints.predict(ModelSettings(path=str(tmp_path / "no")), HostMemory())


def test_a_watch_measures_what_stays_and_the_most_that_was():
    gc.collect()
    return_freed()  # what tests before left would else be given back in the midst of this one
    with MemoryWatch(HostMemory()) as watch:
        kept = np.ones(40 * MIB, np.uint8)
        passing = np.ones(80 * MIB, np.uint8)
        while watch.peak < 110 * MIB:
            pass
        del passing
    assert kept.nbytes == 40 * MIB
    assert 30 * MIB < watch.growth < 60 * MIB
    assert watch.peak > 110 * MIB


def test_a_processor_shares_the_machines_memory():
    gauge = gauge_for(ModelSettings(device="cpu"))
    assert gauge == HostMemory()
    assert gauge.used() > 0
    assert gauge.available() == pytest.approx(available_bytes(), rel=0.2)


def test_an_accelerators_memory_is_what_its_books_say():
    books = Books(1000, 400)
    gauge = DeviceMemory(books)
    assert (gauge.available(), gauge.used()) == (600, 400)
    assert gauge == DeviceMemory(books)
    assert gauge != DeviceMemory(Books(1, 1))


def test_devices_that_share_a_model_have_room_for_as_many_shares_as_the_fullest_has():
    gauge = MeshMemory((Books(1000, 400), Books(1000, 100)), shares=2)
    assert (gauge.available(), gauge.used()) == (2 * 600, 2 * 400)
    assert not gauge.doubled


def test_what_was_measured_on_one_device_says_nothing_of_a_mesh(footprints, settings):
    footprints.record(footprints.predict(settings, HostMemory()), Footprint(MIB, MIB))
    assert not footprints.predict(settings.model_copy(update={"mesh": "tensor=1"}), HostMemory()).measured
