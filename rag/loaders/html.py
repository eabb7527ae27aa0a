"""HTML: the main content of a page as headings, paragraphs, lists, tables and code.

lxml is used directly: Beautiful Soup on top of it, measured on a long Wikipedia article, takes ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from ...config.schema import RagSettings
from ..errors import DocumentError
from ..values import Block
from .document import StreamedDocument
from .encoding import declared_in, detect_bytes
from .html_content import main_content, tags
from .source import check, unreadable
from .tables import Header, row_text, table_text

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = tags("""
    address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer
    form header hgroup hr html li main menu nav ol p section summary table tbody td tfoot th thead tr ul
    """)
_BLANKS = re.compile(r"\s+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


class HtmlLoader:
    """Reads the main content of HTML pages; implements `DocumentLoader`."""

    suffixes = (".html", ".htm", ".xhtml")

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings

    def load(self, path: Path) -> StreamedDocument:
        """Open ``path``; the whole page is parsed at once.

        Raises:
            DocumentError: missing, unreadable, empty, too large, binary, or without any text.
        """
        check(path, self._settings.max_file_mb)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DocumentError(unreadable(error)) from error
        encoding = detect_bytes(data, declared_in(data))
        text = data.decode(encoding.name, "replace").removeprefix("\ufeff")
        warnings = [encoding.notice] if encoding.guessed else []
        root = parse(text)
        title = _title(root)
        return StreamedDocument(_Reader().read(main_content(root)), title=title, warnings=warnings)


def parse(markup: str) -> HtmlElement:
    """The tree of an HTML page.

    Raises:
        DocumentError: no element in it.
    """
    markup = _CONTROL.sub(" ", _XML_DECLARATION.sub("", markup))
    if not markup.strip():
        raise DocumentError("empty: it holds no text")
    try:
        return document_fromstring(markup, parser=HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True))
    except etree.ParserError as error:
        raise DocumentError(f"cannot be parsed as HTML: {error}") from error


def _title(root: HtmlElement) -> str | None:
    """The page's title; of "Heading - Site" the heading alone, if it stands so on the page."""
    title = _collapse(root.findtext(".//title") or "")
    headings = [_collapse(heading.text_content()) for heading in root.iter("h1")]
    if len(headings) == 1 and headings[0] and (not title or headings[0] in title):
        return headings[0]
    return title or None


def _collapse(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


class _Reader:
    """Walks a tree and collects inline text until a block-level border."""

    def __init__(self) -> None:
        self._inline: list[str] = []
        self._prefix = ""

    def read(self, root: HtmlElement) -> Iterator[Block]:
        walk = etree.iterwalk(root, events=("start", "end"))
        lists = 0
        for event, element in walk:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "end":
                if tag in _BLOCKS:
                    yield from self._flush(tight=tag == "li")
                if tag in ("ul", "ol"):
                    lists -= 1
                    if not lists:
                        yield Block("\n")
                self._add(element.tail if element is not root else None)
                continue
            special = self._special(element, tag)
            if special is not None:
                yield from self._flush(tight=lists > 0)
                yield from special
                walk.skip_subtree()
                continue
            if tag in _BLOCKS:
                yield from self._flush(tight=lists > 0)
            if tag in ("ul", "ol"):
                lists += 1
            elif tag == "li":
                self._prefix = "  " * (lists - 1) + "- "
            elif tag == "br":
                self._inline.append("\n")
            self._add(element.text)
        yield from self._flush(tight=False)

    def _special(self, element: HtmlElement, tag: str) -> list[Block] | None:
        """The blocks of an element that is read as a whole; None: walk into it."""
        if tag in _HEADINGS:
            text = _collapse(element.text_content())
            return [Block(text + "\n\n", heading=_HEADINGS[tag])] if text else []
        if tag == "pre":
            text = element.text_content().strip("\n").rstrip()
            return [Block(text + "\n\n", kind="code")] if text.strip() else []
        if tag == "table":
            text = _table(element)
            if text is not None:
                return [Block(text + "\n", kind="rows")] if text else []
        return None

    def _add(self, text: str | None) -> None:
        if text:
            self._inline.append(_BLANKS.sub(" ", text))

    def _flush(self, *, tight: bool) -> Iterator[Block]:
        text = "".join(self._inline)
        self._inline.clear()
        text = "\n".join(line for line in (_collapse(part) for part in text.split("\n")) if line)
        if text:
            yield Block(self._prefix + text + ("\n" if tight else "\n\n"))
            self._prefix = ""


def _table(table: HtmlElement) -> str | None:
    """A data table as rows of text; None for a table that only lays out the page."""
    lists = () if table.find(".//th") is not None else ("ul", "ol")
    if next(table.iterdescendants("table", "h1", "h2", "h3", "pre", *lists), None) is not None:
        return None
    rows = list(table.iter("tr"))
    cells = [[cell for cell in row if cell.tag in ("td", "th")] for row in rows]
    texts = [[_cell(cell) for cell in row] for row in cells]
    caption = "".join(_collapse(found.text_content()) + "\n" for found in table.iter("caption"))
    if max((len(row) for row in texts), default=0) < 2:
        return None
    first = next(i for i, row in enumerate(texts) if len(row) > 1)
    above = "".join(row_text(row, None) + "\n" for row in texts[:first] if any(row))
    texts, cells = texts[first:], cells[first:]
    if all(cell.tag == "th" for cell in cells[0]) or table.find("thead") is not None:
        return caption + above + table_text(texts, Header.DECLARED)
    if not any(len(row) == 2 and row[0].tag == "th" for row in cells):
        return caption + above + table_text(texts, Header.GUESSED)
    lines = (": ".join((row[0].rstrip(" :"), row[1])) if len(row) == 2 else row_text(row, None) for row in texts)
    return caption + above + "".join(line + "\n" for line in lines if line.strip(" :"))


def _cell(cell: HtmlElement) -> str:
    parts: list[str] = []
    for event, element in etree.iterwalk(cell, events=("start", "end")):
        if event == "start":
            parts.append(element.text or "")
            continue
        if element.tag in _BLOCKS or element.tag == "br":
            parts.append(", " if element.tag == "li" and element.getnext() is not None else " ")
        if element is not cell:
            parts.append(element.tail or "")
    return re.sub(r"\s+(?=,)", "", _collapse("".join(parts)))
