"""Writes settings into a TOML file as a person would: what stands there, comments and order too, stays."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError, Problem
from .sources import split_key
from .toml_edit import Unplaceable, with_value


def write_settings(file: Path | None, values: Mapping[str, Any]) -> None:
    """Set dotted keys in ``file``, which is made if it is missing, and replaced as a whole or not at all.

    Raises:
        ConfigError: there is no file to write to, it is not valid TOML, or it cannot be written.
    """
    if file is None:
        raise ConfigError([Problem("persist", "these settings come from no file: name the one to write to")])
    try:
        text = file.read_bytes().decode("utf-8-sig") if file.exists() else ""
        for key, value in values.items():
            text = with_value(text, split_key(key), value)
        replace_file(file, text.encode())
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise ConfigError([Problem(str(file), f"not valid TOML, so nothing is written to it: {error}")]) from error
    except Unplaceable as error:
        raise ConfigError([Problem(str(file), f"{error}, so nothing is written to it")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be written: {error.strerror or error}")]) from error


def replace_file(file: Path, content: bytes) -> None:
    """Write ``file`` as a whole or not at all; its mode stays, and a link stays a link.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(os.path.realpath(file))
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
