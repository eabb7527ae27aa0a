"""What a settings file would lead to if it held other text: known before it is written."""

from __future__ import annotations

from pathlib import Path

from .files import FileReader
from .load import LoadedSettings, Sources, resolve


def resolve_draft(file: Path, text: str) -> LoadedSettings:
    """The settings of ``file`` alone, with what it extends and its ``config.d``, if it held ``text``.

    Raises:
        ConfigError: everything that would be wrong with them.
    """
    reader = FileReader(drafts={file: text.encode()})
    reader.read(file, required=True)
    return resolve(Sources(tuple(reader.entries), tuple(reader.problems), reader.contents, file))
