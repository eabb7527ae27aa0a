"""Where things are kept when nothing else is said."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def default_data_dir() -> Path:
    """``CAPIBARA_DATA_DIR``, or the user's data folder of the operating system."""
    chosen = os.environ.get("CAPIBARA_DATA_DIR")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("capibara", appauthor=False))


def cache_dir() -> Path:
    """``CAPIBARA_CACHE_DIR``, or the user's cache folder; everything in it can be made again."""
    chosen = os.environ.get("CAPIBARA_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("capibara", appauthor=False))
