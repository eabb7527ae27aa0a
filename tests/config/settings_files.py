"""Loads settings files for tests, away from the variables of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from capibara.config import ConfigError, load_settings
from capibara.config.load import LoadedSettings


def load(file: Path, **sources) -> LoadedSettings:
    return load_settings(file, **{"environ": {}, **sources})


def problems(file: Path, **sources) -> list[str]:
    """What is wrong, with paths relative to the file's folder."""
    with pytest.raises(ConfigError) as caught:
        load(file, **sources)
    return [str(problem).replace(f"{file.parent}/", "") for problem in caught.value.problems]
