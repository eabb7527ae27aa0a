"""An orchestrator of four tiny models, with room for so many of them."""

from __future__ import annotations

import pytest

from capibara.config.schema import ModelSettings
from capibara.model.footprints import Footprints
from capibara.model.memory_gauge import HostMemory
from capibara.model.orchestrator import Orchestrator

from ..test_folder import write_folder
from .leasing import NAMES, Opener


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """Models of one structure, so that their steps are compiled once."""
    where = tmp_path_factory.mktemp("models")
    for name in NAMES:
        write_folder(where / name, tiny)
    return {name: ModelSettings(path=str(where / name), compute="float32", context_tokens=128) for name in NAMES}


@pytest.fixture(scope="module")
def one_model(folders, tmp_path_factory):
    """Bytes that any one of the models is predicted to hold."""
    return Footprints(tmp_path_factory.mktemp("none") / "no.json").predict(folders["a"], HostMemory()).held


@pytest.fixture
def opener(tmp_path):
    return Opener(tmp_path)


@pytest.fixture
def make(folders, opener, one_model, tmp_path):
    """An orchestrator with room for so many models; all of them are predicted by arithmetic alone."""
    made = []

    def orchestrator(room=2.5, models=folders, **options):
        options = {"limit_bytes": int(room * one_model), "cache": tmp_path, "opener": opener, **options}
        made.append(Orchestrator(models, **options))
        return made[-1]

    yield orchestrator
    opener.gate.set()
    for each in made:
        each.close()
