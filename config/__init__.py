"""Every setting, where it comes from, and where things are kept."""

from __future__ import annotations

from .effective import EffectiveSetting, effective
from .errors import ConfigError, Problem
from .load import LoadedSettings, load_settings
from .locate import locate, open_settings
from .paths import cache_dir, default_data_dir
from .schema import Settings
from .sources import Origin, TextValue

__all__ = [
    "ConfigError",
    "EffectiveSetting",
    "LoadedSettings",
    "Origin",
    "Problem",
    "Settings",
    "TextValue",
    "cache_dir",
    "default_data_dir",
    "effective",
    "load_settings",
    "locate",
    "open_settings",
]
