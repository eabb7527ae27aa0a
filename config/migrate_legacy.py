"""What the flat keys of the prototypes before version 1 mean today, one row for each.

Where two of them lead to the same setting, the one that stands first here wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_WHISPER = ("tiny", "base", "small", "medium", "large", "turbo", "distil")
_LEVELS = {"warn": "warning", "critical": "error", "fatal": "error"}


class Lost(Exception):
    """A value has no meaning today; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``key``: today's setting, None where there is none; ``note``: what the user should know about it."""

    key: str | None
    note: str = ""
    convert: Callable[[Any], Any] = lambda value: value


def pieces(name: str, value: Any) -> list[tuple[str, str, Any]]:
    """The values in one key, each with its label and the name of its rule: a list of models is several."""
    if name != "models":
        return [(name, name, value)]
    models = _list_of_models(value)
    if not models:
        return [(name, "models of no name", value)]
    rules = ["models", *["further models"] * (len(models) - 1)]
    return [(f"models[{index}]", rule, model) for index, (rule, model) in enumerate(zip(rules, models, strict=True))]


def rule_for(name: str) -> Rule | None:
    """The row of ``name``; None: no prototype had it."""
    return _RULES.get(name)


def rank(name: str) -> int:
    """The lower, the sooner its value is taken."""
    return list(_RULES).index(name)


def _list_of_models(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    models = value if isinstance(value, list) else [value]
    return [_model_name(model) for model in models if model]


def _model_name(model: Any) -> Any:
    if not isinstance(model, dict):
        return model
    return next((model[key] for key in ("path", "name", "id", "model") if key in model), model)


def _model_file(value: Any) -> Any:
    """A GGUF file is named with ``./`` where it is relative; anything else may be the name of a model."""
    bare = isinstance(value, str) and value.endswith(".gguf") and not value.startswith(("/", "./", "../", "~/"))
    return f"./{value}" if bare else value


def _device(value: Any) -> str:
    kind = str(value).lower()
    for known, today in (("tpu", "tpu"), ("cuda", "gpu"), ("gpu", "gpu"), ("cpu", "cpu"), ("auto", "auto")):
        if kind.startswith(known):
            return today
    raise Lost(f"no such device today: auto, cpu, gpu or tpu, not {value}")


def _quantum(value: Any) -> str:
    if value is not True:
        raise Lost("it was off, and so it is by default")
    return "openvino-int8"


def _whisper_size(value: Any) -> Any:
    if not str(value).startswith(_WHISPER):
        raise Lost("language models have no sizes today: name one in model.path")
    return value


def _reranker_use(value: Any) -> str:
    if value is not False:
        raise Lost("reranking is on by default (rag.reranker)")
    return "none"


def _overlap(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Lost("must be a number")
    return 1 if value > 0 else 0


def _language(value: Any) -> Any:
    return "none" if value in ("auto", "", None) else value


def _persona(value: Any) -> Any:
    """A text that begins like a path would be taken for one today; a space before it prevents that."""
    return f" {value}" if isinstance(value, str) and value.startswith(("/", "./", "../", "~/")) else value


def _level(value: Any) -> str:
    level = str(value).lower()
    return _LEVELS.get(level, level)


_FOLDER = "relative to this file now; the index in it is not read: run `capibara ingest` for its documents"
_TOKEN = "used by `capibara models pull` alone"

_RULES = {
    "model_path": Rule("model.path", "relative to this file now", _model_file),
    "model_name": Rule("model.path"),
    "models": Rule("model.path", "the first of them: one language model at a time"),
    "further models": Rule(None, "one language model at a time"),
    "models of no name": Rule(None, "names no model"),
    "use_quantum": Rule(
        "rag.embedding_backend", "it meant vector quantisation; int8 embedding is the nearest", _quantum
    ),
    "device": Rule("model.device", "", _device),
    "temperature": Rule("generation.temperature"),
    "max_tokens": Rule("generation.max_tokens"),
    "max_new_tokens": Rule("generation.max_tokens"),
    "max_length": Rule("generation.max_tokens", "without the prompt today"),
    "top_k": Rule("rag.top_k", "taken for the passages of a search; the sampler's is generation.top_k"),
    "top_p": Rule("generation.top_p"),
    "chunk_size": Rule("rag.chunk_tokens", "in tokens today; divide by about four if it counted characters"),
    "chunk_overlap": Rule("rag.chunk_overlap_sentences", "in whole sentences today", _overlap),
    "similarity_threshold": Rule("assistant.least_support", "no answer below it; passages are ranked, not cut off"),
    "dedup_threshold": Rule("rag.dedup_threshold"),
    "embedding_model": Rule("rag.embedding_model"),
    "use_reranker": Rule("rag.reranker", "", _reranker_use),
    "reranker_model": Rule("rag.reranker"),
    "whisper_model": Rule("voice.model"),
    "model_size": Rule("voice.model", "taken for Whisper's size; language models have none today", _whisper_size),
    "vad_aggressiveness": Rule("voice.aggressiveness"),
    "language": Rule("voice.language", "", _language),
    "sample_rate": Rule(None, "any rate is taken and resampled"),
    "log_level": Rule("logging.level", "", _level),
    "data_path": Rule("data_dir", _FOLDER),
    "persist_directory": Rule("data_dir", _FOLDER),
    "system_prompt": Rule("assistant.persona", 'with assistant.answer_style = "compose"', _persona),
    "hf_token": Rule("keys.hub", _TOKEN),
    "api_key": Rule(None, "of which service is not known; a token for the model hub is keys.hub"),
    "collection_name": Rule("assistant.collection"),
    "alpha": Rule("rag.alpha", "weight of the dense score"),
    "hybrid_alpha": Rule("rag.alpha", "weight of the dense score"),
    "num_threads": Rule("model.threads"),
    "batch_size": Rule("rag.embedding_batch"),
    "port": Rule(None, "there is no server"),
    "host": Rule(None, "there is no server"),
}
