"""One assistant for all tests of this folder: small documents, a tiny language model, and settings in a file."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from capibara.assistant import Assistant
from capibara.config.schema import ModelSettings
from capibara.model.adapter_files import Adapter, LoraFactors, write_adapter
from capibara.model.matrices import module_shapes
from capibara.model.open import open_checkpoint

from ...model.conftest import Tiny, random_tensors
from ...model.test_folder import write_folder
from .observing import Changes
from .talking import SPEECH_MODEL

DOCUMENTS = {
    "night": "A night in Casa Garza costs 1,850 pesos per person, with breakfast.",
    "limit": "The speed limit on El Terraplén is twenty because the tide covers the causeway in the evening, so nobody "
    "may drive to the village before nine.",
    "key": "The key of the dry store hangs behind the kitchen door.",
    "notebooks": "Ines Vega keeps the notebooks of the founder in the old workshop.",
    "boatman": "Guests of Casa Garza pay the boatman in the village.",
    "kayaks": "Kayaks must be back at the jetty an hour before sunset.",
}
SETTINGS = """\
[model]
path = "{models}/one"
compute = "float32"
context_tokens = 512

[generation]
max_tokens = 8

[assistant]
answer_style = "quote"
least_support = 0.3
evidence_sentences = 1

[prompts]
compose = "Answer."

[voice]
model = "{speech}"
threads = 1
vad = "webrtc"  # which takes tones for speech
endpoint_adaptive = false
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny language models of random weights, ``one`` and ``other``; their tokens are bytes."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "other")):
        write_folder(folder / name, Tiny(tensors=functools.partial(random_tensors, seed=seed)))
    return folder


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """An adapter of random factors for the model ``one``."""
    config = open_checkpoint(ModelSettings(path=str(models / "one"))).config
    random = np.random.default_rng(0)
    factors = {
        name: LoraFactors(*(random.normal(size=shape).astype(np.float32) for shape in ((2, inputs), (outputs, 2))))
        for name, (outputs, inputs) in module_shapes(config).items()
    }
    folder = tmp_path_factory.mktemp("reader")
    write_adapter(folder, Adapter(2, 2.0, "one", factors))
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "capibara.toml").write_text(
        SETTINGS.format(models=models.as_posix(), speech=SPEECH_MODEL.as_posix()), "utf-8"
    )
    return folder


@pytest.fixture(scope="session")
def assistant(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    """Every test leaves it as it found it, but for documents in collections of its own."""
    folder = tmp_path_factory.mktemp("documents")
    for name, text in DOCUMENTS.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    with Assistant.open(data_dir, watch=True) as assistant:
        assert assistant.ingest(folder).count("added") == len(DOCUMENTS)
        yield assistant


@pytest.fixture(autouse=True)
def change(request: pytest.FixtureRequest) -> Iterator[Changes]:
    """Changes settings; a test that is to observe a setting must have changed it."""
    observed = getattr(request.function, "observes", frozenset())
    if "key" in request.fixturenames:
        observed = observed & {request.getfixturevalue("key")}
    changes = Changes()
    try:
        yield changes
    finally:
        changes.undo()
    assert observed <= changes.keys, f"{observed - changes.keys} never changed"
