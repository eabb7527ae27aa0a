"""Opens the language model that the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.paths import cache_dir
from ..config.schema import ModelSettings
from .adapter_source import AdapterSource
from .bundled_adapters import bundled_adapters
from .checkpoint import Checkpoint
from .draft_model import DraftModel
from .engine.options import EngineOptions
from .errors import CheckpointError, HeadPatternError, ModelNotFound
from .gguf_checkpoint import GgufCheckpoint
from .head_pattern import PatternedCheckpoint, read_pattern
from .language_model import JaxLanguageModel
from .locate import locate
from .once import Once
from .protocol import LanguageModel

if TYPE_CHECKING:
    from .runner_loading import Networks

_READER = "reader"


def open_model(
    settings: ModelSettings | None = None,
    *,
    adapters: Mapping[str, AdapterSource] | None = None,
    cache: Path | None = None,
) -> LanguageModel:
    """The model of ``settings`` (the bundled one by default), read but not yet loaded: see `LanguageModel.warm_up`.

    ``adapters`` are those a generation can ask for, by name, beside the bundled ones that were made for this model
    and the reader that ``settings`` name; each is read when it is first needed, and refused then if it does not fit.

    ``cache`` is where quantised weights and compiled steps are kept between runs; by default the user's cache
    folder. Nothing is fetched from anywhere.

    Raises:
        ModelNotFound: nothing stands where the settings point.
        CheckpointError: what stands there is damaged.
        UnsupportedCheckpoint: it is of a kind that cannot be run, by name.
        HeadPatternError: the settings name a pattern that is missing, damaged, or made for another model.
        AdapterError: a bundled adapter is damaged.
    """
    settings = settings or ModelSettings()
    checkpoint = open_checkpoint(settings)
    cache = cache_dir() if cache is None else cache
    networks = Once(lambda: _networks(checkpoint, settings, cache))
    sources = adapter_sources(checkpoint, settings, adapters)
    return JaxLanguageModel(
        checkpoint,
        lambda: networks().plain(),
        adapters={name: lambda source=source: networks().adapted(source) for name, source in sources.items()},
        draft=_draft_model(settings, cache),
        context_tokens=settings.context_tokens,
        engine=engine_options(settings),
    )


def engine_options(settings: ModelSettings) -> EngineOptions:
    """How much the engine of a model with ``settings`` takes on."""
    return EngineOptions(
        settings.concurrent_generations,
        settings.waiting_generations,
        settings.prefix_cache_mib * 2**20,
        settings.speculate,
    )


def adapter_sources(
    checkpoint: Checkpoint, settings: ModelSettings, adapters: Mapping[str, AdapterSource] | None = None
) -> dict[str, AdapterSource]:
    """The bundled adapters made for the model, the settings' reader, and ``adapters``; later ones win by name.

    In 4 bits none is merged: its changes are smaller than the steps that weights are rounded to.
    """
    found = bundled_adapters(checkpoint)
    if settings.reader not in ("auto", "none"):
        found[_READER] = AdapterSource(Path(settings.reader).expanduser(), settings.reader_mode)
    elif settings.reader == "none":
        found.pop(_READER, None)
    elif _READER in found:
        found[_READER] = replace(found[_READER], mode=settings.reader_mode)
    sources = {**found, **(adapters or {})}
    if settings.compute == "int4-weights":
        return {name: replace(source, mode="low-rank") for name, source in sources.items()}
    return sources


def draft_settings(settings: ModelSettings) -> ModelSettings | None:
    """The model that drafts for that of ``settings``, run in the same way; None: there is none."""
    if settings.draft == "none":
        return None
    own = {"path": settings.draft, "draft": "none", "reader": "none", "head_pattern": "none"}
    return settings.model_copy(update=own)


def _draft_model(settings: ModelSettings, cache: Path) -> DraftModel | None:
    if (own := draft_settings(settings)) is None:
        return None
    try:
        checkpoint = open_checkpoint(own)
    except (ModelNotFound, CheckpointError) as error:
        raise type(error)(f"model.draft: {error}") from error
    return DraftModel(checkpoint, lambda: _networks(checkpoint, own, cache).plain())


def _networks(checkpoint: Checkpoint, settings: ModelSettings, cache: Path) -> Networks:
    """What brings JAX with it, imported when the first network is loaded."""
    from .runner_loading import Networks

    return Networks(checkpoint, settings, cache)


def open_checkpoint(settings: ModelSettings) -> Checkpoint:
    """The checkpoint that ``settings`` name; only its header is read.

    Raises:
        ModelNotFound, CheckpointError, UnsupportedCheckpoint, HeadPatternError: as `open_model`.
    """
    checkpoint = _checkpoint_at(locate(settings.path))
    if settings.head_pattern == "none":
        return checkpoint
    file = Path(settings.head_pattern).expanduser()
    pattern = read_pattern(file)
    try:
        return PatternedCheckpoint(checkpoint, pattern)
    except HeadPatternError as error:
        raise HeadPatternError(f"{file}: {error}") from error


def _checkpoint_at(found: Path) -> Checkpoint:
    if found.is_dir():
        from .safetensors_checkpoint import SafetensorsCheckpoint

        return SafetensorsCheckpoint(found)
    return GgufCheckpoint(found)
