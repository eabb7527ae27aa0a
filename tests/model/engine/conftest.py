"""One small network for the tests of the engine: what is compiled for one model serves the others."""

from __future__ import annotations

import pytest

from capibara.model.engine.options import EngineOptions

from .generating import GREEDY, PLAIN


@pytest.fixture(scope="module")
def network(tiny):
    """One config for the file: what is compiled for one model serves the others."""
    config = tiny.config()
    return config, tiny.tensors(config, seed=3)


@pytest.fixture
def make(tiny, network):
    return lambda **options: tiny.model(*network, engine=EngineOptions(**options))


@pytest.fixture(scope="module")
def alone(tiny, network):
    """What each prompt gives with nobody beside it, nothing kept and nothing drafted."""

    def text(prompt, sampling=GREEDY):
        return tiny.model(*network, engine=PLAIN).generate(prompt, sampling).text

    return text
