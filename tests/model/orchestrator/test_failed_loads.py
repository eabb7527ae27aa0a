"""Models that are not lent out: they cannot be loaded, not in time, or no more; and what is told of it."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from capibara.model import ModelNotFound
from capibara.model.errors import CheckpointError, LoadTimeout, ModelTooLarge, OrchestratorClosed, UnknownModel

from .leasing import loaded, use


class HalfLoaded:
    """A model whose weights are there when it turns out to be damaged."""

    adapters = weights = ()

    def warm_up(self, adapters):
        try:
            self.weights[3]
        except LookupError as error:
            raise CheckpointError("no such weight") from error


def test_a_load_that_failed_is_tried_again(make, folders, tmp_path):
    late = tmp_path / "late"
    orchestrator = make(models={"late": folders["a"].model_copy(update={"path": str(late)})})
    failed = orchestrator.preload("late")
    with pytest.raises(ModelNotFound):
        failed.result(60)
    with pytest.raises(ModelNotFound):
        use(orchestrator, "late")
    shutil.copytree(folders["a"].path, late)
    use(orchestrator, "late")


def test_what_was_loaded_by_halves_goes_at_once_however_long_its_error_is_kept(make, opener):
    models = []

    def open_half(settings):
        model = HalfLoaded()
        models.append(weakref.ref(model))
        return model

    orchestrator = make(opener=open_half)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(CheckpointError, match="no such weight") as raised, orchestrator.lease("a"):
            pass
        assert [model() for model in models] == [None]
        assert raised.value.__cause__ is not None
    finally:
        gc.enable()


def test_each_that_waited_for_a_failed_load_raises_an_error_of_its_own(make, opener):
    opener.waits = {"a"}

    def refuse(settings):
        opener(settings)
        raise ModelTooLarge("a", 3, 2, 1, ["'b' is in use"])

    orchestrator = make(opener=refuse)
    with ThreadPoolExecutor(2) as pool:
        leases = [pool.submit(use, orchestrator, "a") for _ in range(2)]
        while sum(one.leases for one in orchestrator.states()) < 2:
            assert not any(lease.done() for lease in leases)
        ready = orchestrator.preload("a")
        opener.gate.set()
        errors = [each.exception(60) for each in (*leases, ready)]
    assert len(set(map(id, errors))) == 3
    assert len({id(error.__cause__) for error in errors}) == 1
    for error in errors:
        assert isinstance(error, ModelTooLarge)
        assert (error.needed, error.available, error.freed) == (3, 2, 1)
        assert "'b' is in use" in str(error)
        assert error.__cause__.__traceback__ is None


def test_why_a_model_is_not_loaded_is_in_the_log_with_its_frames(make, caplog):
    def refuse(settings):
        raise CheckpointError("no such weight")

    with caplog.at_level("INFO", logger="capibara.model.orchestrator"), pytest.raises(CheckpointError):
        use(make(opener=refuse), "a")
    assert "model 'a' is not loaded" in caplog.text
    assert "in refuse" in caplog.text


def test_a_lease_that_waits_too_long_is_given_up_and_the_model_is_loaded_all_the_same(make, opener):
    opener.waits = {"a"}
    orchestrator = make()
    with pytest.raises(TimeoutError) as raised, orchestrator.lease("a", timeout_seconds=0.05):
        pass
    assert isinstance(raised.value, LoadTimeout)
    assert str(raised.value).startswith("model 'a' was not loaded within 0.05 seconds")
    assert orchestrator.states()[0].leases == 0
    opener.gate.set()
    use(orchestrator, "a")
    assert opener.opened == ["a"]


def test_closing_gives_up_what_waits_and_lets_all_models_go(make, opener):
    opener.waits = {"b"}
    orchestrator = make()
    use(orchestrator, "a")
    ready = [orchestrator.preload("b"), orchestrator.preload("c")]
    assert opener.arrived.wait(60)
    threading.Timer(0.05, opener.gate.set).start()
    orchestrator.close()
    ready[0].result(0)
    with pytest.raises(CancelledError):
        ready[1].result(0)
    assert loaded(orchestrator) == set()
    with pytest.raises(OrchestratorClosed, match="model 'a' is lent out no more"):
        use(orchestrator, "a")
    with pytest.raises(OrchestratorClosed):
        orchestrator.preload("a")
    assert sum(one.leases for one in orchestrator.states()) == 0


def test_a_lease_that_waits_when_all_is_closed_is_told_so(make, opener):
    opener.waits = {"b"}
    orchestrator = make()
    orchestrator.preload("b")
    assert opener.arrived.wait(60)
    with ThreadPoolExecutor(1) as pool:
        leased = pool.submit(use, orchestrator, "c")
        while not any(one.leases for one in orchestrator.states()):
            assert not leased.done()
        threading.Timer(0.05, opener.gate.set).start()
        orchestrator.close()
        with pytest.raises(OrchestratorClosed, match="model 'c' is lent out no more"):
            leased.result(60)


def test_a_name_that_is_not_there_is_an_error_that_names_those_that_are(make):
    orchestrator = make()
    for call in (orchestrator.preload, orchestrator.pin, orchestrator.unpin, orchestrator.unload):
        with pytest.raises(UnknownModel, match="no model 'x': there are a, b, c, d"):
            call("x")
    with pytest.raises(UnknownModel):
        use(orchestrator, "x")
    with pytest.raises(UnknownModel):
        make(pinned=["x"])
