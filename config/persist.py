"""Writes settings into a TOML file as a person would: what stands there, comments and order too, stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .sources import split_key


def write_settings(file: Path | None, values: Mapping[str, Any]) -> None:
    """Set dotted keys in ``file``, which is made if it is missing, and replaced as a whole or not at all.

    Raises:
        ConfigError: there is no file to write to, it is not valid TOML, or it cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if file is None:
        raise ConfigError([Problem("persist", "these settings come from no file: name the one to write to")])
    target = Path(os.path.realpath(file))  # a link stays a link
    try:
        text = target.read_bytes().decode("utf-8-sig") if target.exists() else ""
        document = tomlkit.parse(text)
        for key, value in values.items():
            _set(document, split_key(key), value)
        _replace(target, tomlkit.dumps(document).encode())
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(file), f"not valid TOML, so nothing is written to it: {error}")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be written: {error.strerror or error}")]) from error


def _set(document: Any, path: tuple[str, ...], value: Any) -> None:
    import tomlkit

    table = document
    for name in path[:-1]:
        if name not in table:
            table.add(name, tomlkit.table(is_super_table=name != path[-2]))
        table = table[name]
    table[path[-1]] = _plain(value)


def _plain(value: Any) -> Any:
    """In types that TOML has."""
    if value is None:
        return "none"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    return value


def _replace(target: Path, content: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as stream:
        temporary = Path(stream.name)
        try:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
