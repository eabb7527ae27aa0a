"""Opens the language model that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config.paths import cache_dir
from ..config.schema import ModelSettings
from .checkpoint import Checkpoint
from .gguf_checkpoint import GgufCheckpoint
from .language_model import JaxLanguageModel
from .locate import locate
from .protocol import LanguageModel

if TYPE_CHECKING:
    from .runner import DecoderRunner


def open_model(settings: ModelSettings | None = None, *, cache: Path | None = None) -> LanguageModel:
    """The model of ``settings`` (the bundled one by default), read but not yet loaded: see `LanguageModel.warm_up`.

    ``cache`` is where quantised weights and compiled steps are kept between runs; by default the user's cache
    folder. Nothing is fetched from anywhere.

    Raises:
        ModelNotFound: nothing stands where the settings point.
        CheckpointError: what stands there is damaged.
        UnsupportedCheckpoint: it is of a kind that cannot be run, by name.
    """
    settings = settings or ModelSettings()
    checkpoint = open_checkpoint(settings)
    folder = cache_dir() if cache is None else cache

    def load() -> DecoderRunner:
        from .runner_loading import load_runner

        return load_runner(checkpoint, settings, folder)

    return JaxLanguageModel(checkpoint, load, context_tokens=settings.context_tokens)


def open_checkpoint(settings: ModelSettings) -> Checkpoint:
    """The checkpoint that ``settings`` name; only its header is read.

    Raises:
        ModelNotFound, CheckpointError, UnsupportedCheckpoint: as `open_model`.
    """
    found = locate(settings.path)
    if found.is_dir():
        from .safetensors_checkpoint import SafetensorsCheckpoint

        return SafetensorsCheckpoint(found)
    return GgufCheckpoint(found)
