"""Finds the data folder and the settings file that belong to what the user named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .load import LoadedSettings, Sources, read_sources, resolve
from .paths import default_data_dir

FILE_NAME = "capibara.toml"
STORE_NAME = "capibara.sqlite3"


def locate(path: Path | str | None = None) -> tuple[Path, Path | None]:
    """The data folder, and the settings file if there is one.

    ``path`` may be a TOML file, a data folder (it need not exist yet), or None for the default data folder.
    A file belongs to the default data folder, unless it lies in a folder that holds documents already.
    A settings file that was named must exist; reading it says so if it does not.
    """
    given = Path(path).expanduser() if path is not None else default_data_dir()
    if given.is_file() or (given.suffix.lower() == ".toml" and not given.is_dir()):
        in_data_folder = given.name == FILE_NAME and (given.parent / STORE_NAME).exists()
        return (given.parent if in_data_folder else default_data_dir()), given
    file = given / FILE_NAME
    return given, file if file.is_file() else None


def read_located(
    path: Path | str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Sources:
    """All sources of the settings for ``path`` (see `locate`); the file of a data folder need not be there."""
    data_dir, file = locate(path)
    return read_sources(file or data_dir / FILE_NAME, required=file is not None, environ=environ, overrides=overrides)


def open_settings(
    path: Path | str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[LoadedSettings, Path]:
    """The settings for ``path`` (see `locate`) and the data folder they lead to, absolute.

    The data folder is, first that applies: ``data_dir`` of ``overrides``; ``path`` where that is a folder;
    ``data_dir`` of the file; the default.

    Raises:
        ConfigError: as `load_settings`.
    """
    data_dir, file = locate(path)
    loaded = resolve(read_located(path, environ=environ, overrides=overrides))
    origin = loaded.origins["data_dir"]
    folder_was_named = path is not None and file != Path(path).expanduser()
    chosen = loaded.settings.data_dir
    if chosen is None or (folder_was_named and origin.kind != "argument"):
        chosen = data_dir
    return loaded, chosen.absolute()
