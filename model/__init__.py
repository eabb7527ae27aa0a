"""Language models in JAX: checkpoints in, streamed text out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    AdapterError,
    AdapterMismatch,
    CheckpointError,
    DeadlineExceeded,
    DeviceNotFound,
    EmptyPrompt,
    ModelError,
    ModelNotFound,
    NumericalError,
    Overloaded,
    PromptTooLong,
    UnknownAdapter,
    UnsupportedCheckpoint,
)
from .protocol import Delta, FinishReason, Generation, LanguageModel, Message, Sampling, Usage

if TYPE_CHECKING:
    from .adapter_source import AdapterSource
    from .language_model import JaxLanguageModel
    from .open import open_model

__all__ = [
    "AdapterError",
    "AdapterMismatch",
    "AdapterSource",
    "CheckpointError",
    "DeadlineExceeded",
    "Delta",
    "DeviceNotFound",
    "EmptyPrompt",
    "FinishReason",
    "Generation",
    "JaxLanguageModel",
    "LanguageModel",
    "Message",
    "ModelError",
    "ModelNotFound",
    "NumericalError",
    "Overloaded",
    "PromptTooLong",
    "Sampling",
    "UnknownAdapter",
    "UnsupportedCheckpoint",
    "Usage",
    "open_model",
]

_LATER = {"AdapterSource": "adapter_source", "JaxLanguageModel": "language_model", "open_model": "open"}


def __getattr__(name: str) -> Any:
    """`capibara.model` stays light: these names bring NumPy and the configuration with them."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
