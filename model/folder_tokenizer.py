"""Reads the tokenizer of a Hugging Face folder: ``tokenizer.json``, ``tokenizer_config.json``, the chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from .chat_template import ChatTemplate
from .errors import CheckpointError
from .tokenizer import TextTokenizer

_MARKERS = ("bos_token", "eos_token", "unk_token", "pad_token")


def folder_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer with its markers and template.

    Raises:
        CheckpointError: ``tokenizer.json`` is missing or damaged.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json: only models with a fast tokenizer can be used")
    try:
        backend = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{file}: damaged: {error}") from error
    options = _optional_json(folder / "tokenizer_config.json")
    spelled = {name: text for name in _MARKERS if (text := _text(options.get(name)))}
    begin = backend.token_to_id(spelled.get("bos_token", ""))
    if begin is not None and options.get("add_bos_token") and begin not in backend.encode("a").ids:
        backend.post_processor = processors.TemplateProcessing(
            single=[spelled["bos_token"], "$A"], special_tokens=[(spelled["bos_token"], begin)]
        )
    template = ChatTemplate(_template(folder, options), spelled)
    return TextTokenizer(backend, template, begin, _end_tokens(folder, backend, spelled))


def _template(folder: Path, options: dict[str, Any]) -> str | None:
    own_file = folder / "chat_template.jinja"
    if own_file.is_file():
        return own_file.read_text(encoding="utf-8")
    template = options.get("chat_template")
    if isinstance(template, list):
        return next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template


def _end_tokens(folder: Path, backend: Tokenizer, spelled: dict[str, str]) -> frozenset[int]:
    """Generation settings first, they may name several; then the configuration; then the tokenizer's own."""
    for name in ("generation_config.json", "config.json"):
        ids = _optional_json(folder / name).get("eos_token_id")
        if ids is not None:
            return frozenset(ids if isinstance(ids, list) else [ids])
    own = backend.token_to_id(spelled.get("eos_token", ""))
    return frozenset() if own is None else frozenset([own])


def _text(marker: Any) -> str | None:
    return marker.get("content") if isinstance(marker, dict) else marker


def _optional_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: not readable as JSON: {error}") from error
