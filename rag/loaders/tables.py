"""Tables as text: every row one line that can be read, found and quoted without the header above it.

A row of a table with a header becomes "column: value; column: value"; of one without, "value | value".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

_LONGEST_COLUMN_NAME = 80
_NUMBER = re.compile(r"[^\w]*\d[\d\s.,:/%+-]*[^\w]*")


class Header(Enum):
    """Whether a table's first row names its columns."""

    NONE = 0
    GUESSED = 1
    """It may: the content decides."""
    DECLARED = 2


def row_text(cells: Sequence[str], header: Sequence[str] | None) -> str:
    """One row as one line; empty cells are left out; an empty row gives ''."""
    cells = [" ".join(cell.split()) for cell in cells]
    if header is None:
        return " | ".join(cell for cell in cells if cell)
    names = [*header, *[""] * (len(cells) - len(header))]
    pairs = ((name, cell) for name, cell in zip(names, cells, strict=False) if cell)
    return "; ".join(f"{name.rstrip(' :')}: {cell.rstrip(' :')}" if name else cell for name, cell in pairs)


def table_text(rows: Sequence[Sequence[str]], header: Header) -> str:
    """A whole table, one line per row, each ended by LF; '' if nothing stands in it.

    A guessed header also keeps its own line, lest it was a row of data.
    """
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    named = len(rows) > 1 and (header is Header.DECLARED or (header is Header.GUESSED and _guess(rows)))
    names = [" ".join(cell.split()) for cell in rows[0]] if named else None
    lines = [row_text(row, names) for row in (rows[1:] if named else rows)]
    if named and header is Header.GUESSED:
        lines.insert(0, row_text(rows[0], None))
    return "".join(line + "\n" for line in lines if line)


def is_header(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether ``row`` holds names: all different, none of them a number, none standing again in its own column."""
    names = [cell.strip() for cell in row]
    filled = [name for name in names if name]
    if not below or len(set(filled)) < len(filled) or len(filled) < max(1, len(names) - 1):
        return False
    if any(_NUMBER.fullmatch(name) or len(name) > _LONGEST_COLUMN_NAME for name in filled):
        return False
    return not any(
        name and i < len(other) and other[i].strip() == name for i, name in enumerate(names) for other in below
    )


def _guess(rows: Sequence[Sequence[str]]) -> bool:
    """As `is_header`; of two columns, which may as well be keys and values, one must hold numbers."""
    if not is_header(rows[0], rows[1:]):
        return False
    if len(rows[0]) > 2:
        return all(cell.strip() for cell in rows[0][1:])
    return any(
        2 * sum(_NUMBER.fullmatch(row[i].strip()) is not None for row in rows[1:] if i < len(row)) >= len(rows) - 1
        for i in range(1, len(rows[0]))
    )
