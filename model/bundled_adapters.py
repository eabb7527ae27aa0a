"""The adapters that come with the project, in ``adapters/`` beside this module."""

from __future__ import annotations

from pathlib import Path

from .adapter_files import CONFIG_FILE
from .adapter_source import AdapterSource, architecture_digest, recorded_base, same_base
from .checkpoint import Checkpoint

_FOLDER = Path(__file__).parent / "adapters"


def bundled_adapters(checkpoint: Checkpoint, folder: Path = _FOLDER) -> dict[str, AdapterSource]:
    """Those that were made for the model in ``checkpoint``, by name; their weights are not read yet.

    Their names are those of their folders. Other than an adapter that a user points at, one that nobody asked for has
    to fit by name too: of two models of one shape, it would serve the wrong one as readily.

    Raises:
        AdapterError: an adapter's configuration is damaged.
    """
    found: dict[str, AdapterSource] = {}
    for place in sorted(folder.glob(f"*/{CONFIG_FILE}")):
        base = recorded_base(place.parent)
        fits = base.architecture in ("", architecture_digest(checkpoint.config))
        if fits and same_base(base.name, checkpoint.name):
            found[place.parent.name] = AdapterSource(place.parent)
    return found
