"""The lines of a PDF page with their place and type size, as PDFium finds them."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from pypdfium2 import PdfDocument, PdfTextPage, raw

PDFIUM = threading.Lock()
"""PDFium keeps state for the whole process and must not be entered by two threads."""

_LINE = re.compile(r"[^\r\n]+")
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")
_BOLD_WEIGHT = 600


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; positions in points, y upwards. U+0002 marks a hyphen PDFium took for a line-end one."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool

    @property
    def character(self) -> float:
        """Mean width of a character."""
        return (self.right - self.left) / max(1, len(self.text))


def lines_of(pdf: PdfDocument, index: int) -> list[Line]:
    """The lines of page ``index`` (from 0), in the order of the page's content; white lines are left out.

    Raises:
        PdfiumError: the page cannot be read.
    """
    with PDFIUM:
        page = pdf[index]
        try:
            text_page = page.get_textpage()
            try:
                return list(_lines(text_page))
            finally:
                text_page.close()
        finally:
            page.close()


def _lines(text_page: PdfTextPage) -> Iterator[Line]:
    text = text_page.get_text_range(errors="replace")
    for match in _LINE.finditer(text):
        for start, end in _hyphenated(match):
            line = text[start:end].replace("\0", "").replace("\ufffe", "\x02")
            if line.strip():
                yield _measured(text_page, text, start, line)


def _hyphenated(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """PDFium joins hyphenated lines by U+0002: each part is a line of the page again."""
    start = match.start()
    for found in re.finditer("[\x02\ufffe]", match.group()):
        yield start, match.start() + found.end()
        start = match.start() + found.end()
    yield start, match.end()


def _measured(text_page: PdfTextPage, text: str, start: int, line: str) -> Line:
    # PDFium counts UTF-16 units and inserts line ends of its own: it maps the indices itself.
    first = start + len(line) - len(line.lstrip())
    last = start + len(line.rstrip().rstrip("\x02")) - 1
    indices = [_character_index(text_page, text, position) for position in (first, max(first, last))]
    boxes = [_box(text_page, index) for index in indices]
    index = indices[0]
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(text_page, index, x, y)
    return Line(
        text=line,
        left=min(left for left, _ in boxes),
        right=max(right for _, right in boxes),
        baseline=y.value,
        size=float(raw.FPDFText_GetFontSize(text_page, index)),
        bold=all(raw.FPDFText_GetFontWeight(text_page, i) >= _BOLD_WEIGHT for i in indices),
    )


def _character_index(text_page: PdfTextPage, text: str, position: int) -> int:
    units = position + len(_BEYOND_BMP.findall(text, 0, position))
    return int(raw.FPDFText_GetCharIndexFromTextIndex(text_page, units))


def _box(text_page: PdfTextPage, index: int) -> tuple[float, float]:
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(text_page, index, left, right, bottom, top)
    return left.value, right.value
