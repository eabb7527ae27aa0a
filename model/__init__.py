"""Language models in JAX: checkpoints in, streamed text out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    AdapterError,
    AdapterMismatch,
    CheckpointError,
    ConstraintError,
    DeadlineExceeded,
    DeviceNotFound,
    DraftMismatch,
    EmptyPrompt,
    EngineStopped,
    GenerationFailed,
    HeadPatternError,
    LoadTimeout,
    ModelError,
    ModelNotFound,
    ModelTooLarge,
    NumericalError,
    OrchestratorClosed,
    Overloaded,
    PromptTooLong,
    UnknownAdapter,
    UnknownModel,
    UnknownToken,
    UnsupportedCheckpoint,
)
from .protocol import Delta, FinishReason, Generation, LanguageModel, Message, Sampling, Usage

if TYPE_CHECKING:
    from .adapter_source import AdapterSource
    from .constraints import Grammar, JsonSchema, OneOf, Regex
    from .language_model import JaxLanguageModel
    from .open import open_model
    from .orchestrator import Orchestrator
    from .thinking import ThinkingBudget
    from .tool_calls import Tool, tool_call

__all__ = [
    "AdapterError",
    "AdapterMismatch",
    "AdapterSource",
    "CheckpointError",
    "ConstraintError",
    "DeadlineExceeded",
    "Delta",
    "DeviceNotFound",
    "DraftMismatch",
    "EmptyPrompt",
    "EngineStopped",
    "FinishReason",
    "Generation",
    "GenerationFailed",
    "Grammar",
    "HeadPatternError",
    "JaxLanguageModel",
    "JsonSchema",
    "LanguageModel",
    "LoadTimeout",
    "Message",
    "ModelError",
    "ModelNotFound",
    "ModelTooLarge",
    "NumericalError",
    "OneOf",
    "Orchestrator",
    "OrchestratorClosed",
    "Overloaded",
    "PromptTooLong",
    "Regex",
    "Sampling",
    "ThinkingBudget",
    "Tool",
    "UnknownAdapter",
    "UnknownModel",
    "UnknownToken",
    "UnsupportedCheckpoint",
    "Usage",
    "open_model",
    "tool_call",
]

_LATER = {
    "AdapterSource": "adapter_source",
    "Grammar": "constraints",
    "JaxLanguageModel": "language_model",
    "JsonSchema": "constraints",
    "OneOf": "constraints",
    "Orchestrator": "orchestrator",
    "Regex": "constraints",
    "ThinkingBudget": "thinking",
    "Tool": "tool_calls",
    "open_model": "open",
    "tool_call": "tool_calls",
}


def __getattr__(name: str) -> Any:
    """`capibara.model` stays light: these names bring NumPy and the configuration with them."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
