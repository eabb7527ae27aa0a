"""The file that a user begins with: it extends a preset, and has the settings changed most often as comments."""

from __future__ import annotations

from itertools import groupby

from .errors import ConfigError, Problem
from .keys import Setting, all_settings
from .load import load_settings, value_at
from .presets import no_preset, preset_file
from .reference import accepted
from .schema import SCHEMA_VERSION
from .values import shown

_OFFERED = (
    "model.path",
    "model.device",
    "model.context_tokens",
    "generation.max_tokens",
    "generation.temperature",
    "rag.top_k",
    "rag.alpha",
    "rag.reranker",
    "rag.candidates",
    "voice.model",
    "voice.language",
    "voice.synthesizer",
    "voice.endpoint_seconds",
    "assistant.collection",
    "assistant.answer_style",
    "assistant.least_support",
    "assistant.persona",
    "limits.request_seconds",
    "logging.level",
)

_HEAD = """\
# Settings of Capibara. What stands here wins over the preset; delete a "# " before a setting to change it.
# `capibara config check` tells what is wrong, `capibara config show --origin` what is in use and from where.
# For completion in an editor: `capibara config schema > capibara.schema.json`, with this as the first line:
#   #:schema ./capibara.schema.json

extends = "{preset}"
schema_version = {version}
"""


def starter(preset: str) -> str:
    """The text of such a file; what is commented out has the preset's values.

    Raises:
        ConfigError: there is no such preset.
    """
    file = preset_file(preset)
    if file is None:
        raise ConfigError([Problem("--preset", no_preset(preset))])
    settings = load_settings(file, environ={}).settings
    parts = [_HEAD.format(preset=preset, version=SCHEMA_VERSION)]
    offered = (setting for setting in all_settings() if setting.key in _OFFERED)
    for section, members in groupby(offered, key=lambda setting: setting.path[0]):
        lines = [line for setting in members for line in _lines(setting, value_at(settings, setting.path))]
        parts.append("\n".join([f"[{section}]", *lines, ""]))
    return "\n".join(parts)


def _lines(setting: Setting, value: object) -> tuple[str, str]:
    takes = accepted(setting).replace("`", "")
    written = '"none"' if value is None else shown(value)
    return f"# {setting.description}; {takes}", f"# {setting.path[-1]} = {written}"
