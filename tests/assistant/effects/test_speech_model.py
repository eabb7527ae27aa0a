"""Which speech model hears the next utterance, and how it runs, after each change: real ones, small as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faster_whisper
import pytest

from capibara.assistant import Assistant
from capibara.config import ConfigError
from capibara.voice import Final

from ...voice.recorded import audio
from .observing import Changes, observes
from .talking import SPEECH_MODEL, only, talk

COST = audio(0.5, "How much does a night in Casa Garza", 1.5)
HEARD = "How much does a night in Casa Garza cost?"


class Loaded(faster_whisper.WhisperModel):
    """A model that notes how it was loaded."""

    all: list[Loaded]

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder, **options)
        self.options = options
        self.all.append(self)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Loaded]:
    """The models that are loaded."""
    monkeypatch.setattr(Loaded, "all", models := [], raising=False)
    monkeypatch.setattr(faster_whisper, "WhisperModel", Loaded)
    return models


@pytest.fixture(autouse=True)
def final_transcripts_alone(assistant: Assistant, change: Changes) -> None:
    change(assistant, {"voice.partial_seconds": 10.0})


def texts(assistant: Assistant, *steps) -> list[str]:
    return [final.text for final in only(Final, talk(assistant, *steps))]


@observes("voice.model")
def test_another_model_hears_the_next_utterance(assistant: Assistant, change: Changes, tmp_path: Path):
    """It is the same but for two tokens, whose texts are exchanged."""
    other = shutil.copytree(SPEECH_MODEL, tmp_path / "other")
    tokenizer = json.loads((SPEECH_MODEL / "tokenizer.json").read_text("utf-8"))
    tokens = tokenizer["model"]["vocab"]
    tokens["Ġcost"], tokens["Ġwater"] = tokens["Ġwater"], tokens["Ġcost"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    heard = texts(assistant, COST, lambda: change(assistant, {"voice.model": str(other)}), COST)
    assert heard == [HEARD, HEARD.replace("cost", "water")]


OPTIONS: dict[str, tuple[list[Any], Callable[[Loaded], object]]] = {
    "voice.device": (["cpu"], lambda model: model.model.device),
    "voice.compute": (["int8_float32", "float32"], lambda model: model.model.compute_type),
    "voice.threads": ([2, 1], lambda model: model.options["cpu_threads"]),
}


@observes(*OPTIONS)
@pytest.mark.parametrize("key", OPTIONS)
def test_a_model_is_loaded_as_is_set_and_hears_the_next_utterance(
    assistant: Assistant, change: Changes, loaded: list[Loaded], key: str
):
    values, seen = OPTIONS[key]
    for value in values[:-1]:
        change(assistant, {key: value})
    known = []

    def turn() -> None:
        known.extend(loaded)
        change(assistant, {key: values[-1]})

    assert texts(assistant, COST, turn, COST) == [HEARD, HEARD]
    assert len(loaded) == len(known) + 1
    assert [seen(model) for model in loaded[-len(values) :]] == values


def test_a_device_that_is_not_there_is_refused_and_nothing_changes(assistant: Assistant):
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"no GPU for CUDA is found here"):
        assistant.update({"voice.device": "cuda"})
    assert texts(assistant, COST) == [HEARD]
