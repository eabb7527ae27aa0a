"""What the speech model must be able to do before settings that name it are taken up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.assistant.listening import SpeechModels, SpeechPart
from capibara.config import ConfigError
from capibara.config.schema import Settings, VoiceSettings
from capibara.config.subscribers import Objection

MODEL = Path(__file__).resolve().parents[1] / "voice" / "fixture" / "model"


def settings(**voice: object) -> Settings:
    return Settings(voice=VoiceSettings(**voice))  # pyright: ignore[reportArgumentType]


def test_a_gpu_without_the_packages_for_speech_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ConfigError, match=r"voice\.device: cuda needs ctranslate2.*: pip install faster-whisper"):
        Assistant.open(tmp_path, overrides={"voice.device": "cuda"})


@pytest.mark.parametrize("voice", [{"threads": 2}, {"compute": "float32"}, {"device": "cpu"}, {"language": "es"}])
def test_how_a_model_is_run_may_change_while_nobody_speaks_although_it_is_not_here(tmp_path, voice):
    absent = str(tmp_path / "absent")
    before = SpeechPart(settings(model=absent).voice)
    part = SpeechModels().prepare(settings(model=absent, **voice), before)
    assert not part.model.asked


def test_the_default_model_need_not_be_here_while_nobody_speaks(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    before = SpeechPart(settings(model=str(MODEL)).voice)
    part = SpeechModels().prepare(settings(), before)
    assert part.model.settings.model == VoiceSettings().model


def test_a_model_that_is_newly_named_must_be_here(tmp_path):
    with pytest.raises(Objection, match="no such folder") as refused:
        SpeechModels().prepare(settings(model=str(tmp_path / "absent")), SpeechPart(settings().voice))
    assert refused.value.key == "voice.model"


def test_a_language_that_a_model_in_use_does_not_know_is_refused():
    before = SpeechPart(settings(model=str(MODEL)).voice)
    before.transcriber()
    with pytest.raises(Objection, match="does not know fi; it knows en, es") as refused:
        SpeechModels().prepare(settings(model=str(MODEL), language="fi"), before)
    assert refused.value.key == "voice.language"


def test_states_that_name_the_same_model_open_it_once_whoever_asks_first():
    before = SpeechPart(settings(model=str(MODEL)).voice)
    after = SpeechModels().prepare(settings(model=str(MODEL), language="es"), before)
    other = SpeechModels().prepare(settings(model=str(MODEL), threads=1), before)
    opened = after.transcriber()
    assert before.transcriber() is opened
    assert other.transcriber() is not opened
