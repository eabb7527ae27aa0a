"""Tables as text: every row one line that can be read, found and quoted without the header above it.

A row of a table with a header becomes "column: value; column: value"; of one without, "value | value".
"""

from __future__ import annotations

from collections.abc import Sequence


def row_text(cells: Sequence[str], header: Sequence[str] | None) -> str:
    """One row as one line; empty cells are left out; an empty row gives ''."""
    cells = [" ".join(cell.split()) for cell in cells]
    if header is None:
        return " | ".join(cell for cell in cells if cell)
    names = [*header, *[""] * (len(cells) - len(header))]
    pairs = ((name, cell) for name, cell in zip(names, cells, strict=False) if cell)
    return "; ".join(f"{name.rstrip(' :')}: {cell}" if name else cell for name, cell in pairs)


def table_text(rows: Sequence[Sequence[str]], *, has_header: bool) -> str:
    """A whole table, one line per row, each ended by LF; '' if nothing stands in it."""
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    header = [" ".join(cell.split()) for cell in rows[0]] if has_header and len(rows) > 1 else None
    lines = (row_text(row, header) for row in (rows[1:] if header else rows))
    return "".join(line + "\n" for line in lines if line)
