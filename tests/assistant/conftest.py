"""What the tests of this room share: an assistant over the example documents, with the bundled models."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.assistant.cli import main

from .command_line import BAKERY, HARBOUR

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "documents"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    """The example documents, ingested once; tests read and ask, and do not change them."""
    with Assistant.open(tmp_path_factory.mktemp("examples")) as assistant:
        report = assistant.ingest(EXAMPLES)
        assert report.count("added") == len(report.files)
        yield assistant


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own, no models in the hub's cache, and a working folder without files."""
    from huggingface_hub import constants

    for name in [name for name in os.environ if name.startswith("CAPIBARA_") and name != "CAPIBARA_CACHE_DIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPIBARA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents about Skarvik."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "harbour.md").write_text(HARBOUR, encoding="utf-8")
    (folder / "bakery.txt").write_text(BAKERY, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A data folder that holds them; tests ask, and do not change it."""
    data_dir = tmp_path_factory.mktemp("data")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["ingest", str(folder), "--data-dir", str(data_dir)]) == 0
    return data_dir


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], data_dir: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs a command on the documents about Skarvik, or on ``data``: exit code, standard output, standard error."""

    def run(*arguments: str, data: Path | None = None) -> tuple[int, str, str]:
        code = main([*arguments, "--data-dir", str(data or data_dir)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def config(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command of ``capibara config``: exit code, standard output, standard error."""

    def config(*arguments: str) -> tuple[int, str, str]:
        code = main(["config", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return config


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a file into the test's folder, and makes the folders it needs."""

    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    return write
