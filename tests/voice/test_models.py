"""A speech model is found by folder, size or hub name, and said to be missing in one line; nothing is fetched."""

from __future__ import annotations

import pytest

from capibara.config.schema import VoiceSettings
from capibara.voice.errors import SpeechModelNotFound
from capibara.voice.models import find_speech_model, hub_name, open_transcriber

FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill(folder, files=FILES):
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"{}")
    return folder


def pulled(cache, name, files=FILES):
    storage = cache / f"models--{name.replace('/', '--')}"
    (storage / "refs").mkdir(parents=True)
    (storage / "refs" / "main").write_text("a" * 40)
    return fill(storage / "snapshots" / ("a" * 40), files)


def test_sizes_are_those_of_faster_whisper():
    utils = pytest.importorskip("faster_whisper.utils", reason="faster-whisper is not installed")
    assert {size: hub_name(size) for size in utils._MODELS} == utils._MODELS
    assert hub_name("gigantic") is None


@pytest.mark.parametrize("name", ["Systran/faster-whisper-small", "small"])
def test_a_pulled_model_is_found_by_name_and_size(cache, name):
    folder = pulled(cache, "Systran/faster-whisper-small")
    assert find_speech_model(name) == folder


def test_a_folder_is_found_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = fill(tmp_path / "mine")
    assert find_speech_model("mine") == folder


def test_a_folder_that_happens_to_be_called_like_a_size_is_not_the_model(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    folder = pulled(cache, "Systran/faster-whisper-small")
    assert find_speech_model("small") == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", r"small \(Systran/faster-whisper-small\) is not in .*: run `capibara models pull small`"),
        ("a/b", r"a/b is not in .*: run `capibara models pull a/b`"),
        ("./none", r"\./none: no such folder"),
        ("gigantic", "gigantic: no such folder; give one, or a size such as small"),
    ],
)
def test_a_missing_model_is_one_line_with_the_way_out(cache, name, message):
    with pytest.raises(SpeechModelNotFound, match=message) as raised:
        find_speech_model(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", FILES)
def test_an_incomplete_model_is_refused_before_anything_could_fetch_the_rest(cache, tmp_path, missing):
    files = [file for file in FILES if file != missing]
    fill(tmp_path / "mine", files)
    with pytest.raises(SpeechModelNotFound, match=f"lacks {missing}"):
        find_speech_model(str(tmp_path / "mine"))
    pulled(cache, "Systran/faster-whisper-tiny", files)
    with pytest.raises(SpeechModelNotFound, match="fetch it again with `capibara models pull tiny`"):
        find_speech_model("tiny")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(SpeechModelNotFound, match="is a file; give the folder"):
        find_speech_model(str(tmp_path / "model.bin"))


def test_a_model_that_is_missing_shows_no_cause_of_the_hub(cache):
    with pytest.raises(SpeechModelNotFound) as raised:
        find_speech_model("small")
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("name", ["mine/model", "./mine/model"])
def test_a_model_is_called_what_the_settings_call_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "mine" / "model")
    assert open_transcriber(VoiceSettings(model=name)).name == name
