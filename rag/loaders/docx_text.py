"""The text of Word paragraphs and tables, as shown: insertions accepted, deletions left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)

from .docx_styles import W
from .tables import Header, table_text

_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED = frozenset((_FALLBACK, W + "del", W + "moveFrom", W + "instrText", W + "rPr", W + "pPr", W + "txbxContent"))
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_CHARACTERS = {W + "tab": "\t", W + "br": "\n", W + "cr": "\n", W + "noBreakHyphen": "-", W + "softHyphen": ""}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph with text in it; ``depth`` counts from 0 for list items."""

    text: str
    heading: int | None = None
    list_item: bool = False
    depth: int = 0


def paragraphs_of(element: etree._Element, levels: dict[str, int]) -> Iterator[Paragraph]:
    """The paragraph of a ``w:p`` element, then those of the text boxes anchored in it; empty ones are left out."""
    for inner in element.iter(W + "p"):  # boxes in boxes too, each once
        if inner is element or (inner.getparent().tag == W + "txbxContent" and not _is_fallback(inner)):
            paragraph = _paragraph(inner, levels)
            if paragraph is not None:
                yield paragraph


def _is_fallback(element: etree._Element) -> bool:
    return next(element.iterancestors(_FALLBACK), None) is not None


def _paragraph(element: etree._Element, levels: dict[str, int]) -> Paragraph | None:
    properties = element.find(W + "pPr")
    text = _text(element).strip(" \n\t")
    if not text:
        return None
    heading = _heading(properties, levels)
    numbering = None if properties is None or heading is not None else properties.find(W + "numPr")
    style = "" if properties is None else (_value(properties, "pStyle") or "")
    item = numbering is not None or (heading is None and style.startswith("List") and style != "ListParagraph")
    depth = 0 if numbering is None else _integer(_value(numbering, "ilvl"))
    return Paragraph(" ".join(text.split()) if heading is not None else text, heading, item, depth)


def table_of(element: etree._Element) -> str:
    """The rows of a ``w:tbl`` element as lines of text; nested tables are read into their cell."""
    rows = [
        [_cell(cell) for cell in row.iter(W + "tc") if _owner(cell) is row]
        for row in element.iter(W + "tr")
        if _table(row) is element
    ]
    declared = element.find(f"{W}tr/{W}trPr/{W}tblHeader") is not None
    return table_text(rows, Header.DECLARED if declared else Header.GUESSED)


def _cell(cell: etree._Element) -> str:
    return " ".join(text for paragraph in cell.iter(W + "p") if (text := " ".join(_text(paragraph).split())))


def _owner(cell: etree._Element) -> etree._Element | None:
    return next(cell.iterancestors(W + "tr"), None)


def _table(row: etree._Element) -> etree._Element | None:
    return next(row.iterancestors(W + "tbl"), None)


def _text(element: etree._Element) -> str:
    parts: list[str] = []
    stack = list(reversed(element))
    while stack:
        child = stack.pop()
        if child.tag in (W + "t", _MATH_TEXT):
            parts.append(child.text or "")
        elif child.tag in _CHARACTERS:
            parts.append(_CHARACTERS[child.tag])
        elif child.tag not in _SKIPPED:
            stack.extend(reversed(child))
    return "".join(parts)


def _heading(properties: etree._Element | None, levels: dict[str, int]) -> int | None:
    if properties is None:
        return None
    outline = _value(properties, "outlineLvl")
    if outline and outline.isdigit():
        return int(outline) + 1 if int(outline) < 9 else None
    return levels.get(_value(properties, "pStyle") or "")


def _value(element: etree._Element, name: str) -> str | None:
    found = element.find(W + name)
    return None if found is None else found.get(W + "val")


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
