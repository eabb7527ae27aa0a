"""CSV and TSV: every record one line that names its columns, read record by record.

A record becomes "column: value; column: value", so that one line answers a question about it without the header, which
stands far above in a long file. The header's own line is kept as it is. Lines above the header are read as prose.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ...config.schema import RagSettings
from ..errors import DocumentError
from ..values import Block
from .document import StreamedDocument
from .encoding import detect, pieces
from .source import check
from .tables import is_header, row_text

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_BLOCK_CHARACTERS = 1 << 13


class DelimitedLoader:
    """Reads comma, semicolon, bar and tab separated records of any number; implements `DocumentLoader`."""

    suffixes = (".csv", ".tsv", ".tab")

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings

    def load(self, path: Path) -> StreamedDocument:
        """Open ``path``.

        Raises:
            DocumentError: missing, unreadable, empty, too large, binary, or a record of more than 128 Ki characters.
        """
        check(path, self._settings.max_file_mb)
        warnings: list[str] = []
        lines = _lines(pieces(path, detect(path), warnings))
        sample = list(islice(lines, _SAMPLE_LINES))
        delimiter = "\t" if path.suffix.lower() != ".csv" and any("\t" in line for line in sample) else None
        records = _records(chain(sample, lines), delimiter or _delimiter(sample))
        return StreamedDocument(_blocks(records), warnings=warnings)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a stream with their ends, as `csv.reader` wants them."""
    rest = ""
    for text in texts:
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line + "\n"
        if len(rest) > 1 << 20:
            raise DocumentError("not a table: a line of more than a million characters; is it text? rename it to .txt")
    if rest:
        yield rest


def _delimiter(sample: Sequence[str]) -> str:
    """The delimiter under which most of the sample's records have the same number of fields, more than one."""

    def agreement(delimiter: str) -> tuple[float, int]:
        try:
            widths = Counter(len(row) for row in csv.reader(sample, delimiter=delimiter) if row)
        except csv.Error:
            return 0.0, 0
        width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(0, 0))
        return (count / widths.total() if width > 1 else 0.0), width

    return max(_DELIMITERS, key=agreement)


def _records(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t")
    try:
        for record in reader:
            if any(field.strip() for field in record):
                yield record
    except csv.Error as error:
        raise DocumentError(f"line {reader.line_num}: {error}; is a quotation mark left open?") from error


def _blocks(records: Iterator[list[str]]) -> Iterator[Block]:
    head = list(islice(records, _SAMPLE_LINES))
    titles, header, first = _head(head)
    for title in titles:
        yield Block(title + "\n\n", heading=1 if title == titles[0] else None)
    held: list[str] = []
    size = 0
    if header is not None:
        held.append(row_text(header, None) + "\n")
    for record in chain(head[first:], records):
        line = row_text(record, header)
        held.append(line + "\n")
        size += len(line)
        if size > _BLOCK_CHARACTERS:
            yield Block("".join(held), kind="rows")
            held, size = [], 0
    if held:
        yield Block("".join(held), kind="rows")


def _head(records: Sequence[list[str]]) -> tuple[list[str], list[str] | None, int]:
    """The title lines, the header if there is one, and the number of records they take."""
    width = Counter(len(record) for record in records).most_common(1)[0][0] if records else 0
    titles: list[str] = []
    for record in records:
        filled = [field for field in record if field.strip()]
        if width < 2 or len(filled) != 1 or len(titles) == 3:
            break
        titles.append(" ".join(filled[0].split()))
    first = len(titles)
    if first == len(records):
        return [], None, 0
    if first + 1 < len(records) and is_header(records[first], records[first + 1 :]):
        return titles, [" ".join(field.split()) for field in records[first]], first + 1
    return titles, None, first
