"""Word documents (ECMA-376 WordprocessingML): the body streamed paragraph by paragraph, in document order.

lxml reads the parts directly: python-docx, measured on a handbook of 870 pages, takes three to seven times as long and
holds the whole tree.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)

from ...config.schema import RagSettings
from ..errors import DocumentError
from ..values import Block
from .archive import Archive, open_archive
from .document import StreamedDocument
from .docx_styles import W, heading_levels, parse_part
from .docx_text import Paragraph, paragraphs_of, table_of
from .source import check

_BODY = "word/document.xml"
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
_PROPERTIES = "docProps/core.xml"
_DC_TITLE = "{http://purl.org/dc/elements/1.1/}title"


class DocxLoader:
    """Reads Word documents of any length; implements `DocumentLoader`."""

    suffixes = (".docx", ".docm")

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings

    def load(self, path: Path) -> StreamedDocument:
        """Open ``path``.

        Raises:
            DocumentError: missing, unreadable, empty, not a Word document, damaged, encrypted, or a zip bomb.
        """
        check(path, self._settings.max_file_mb)
        limit = self._settings.max_unpacked_mb
        with open_archive(path, limit, what="a Word document") as archive:
            if _BODY not in archive.names:
                raise DocumentError(f"not a Word document: it has no part {_BODY}")
            title = _declared_title(archive)
        return StreamedDocument(_blocks(path, limit), title=title)


def _declared_title(archive: Archive) -> str | None:
    if _PROPERTIES not in archive.names:
        return None
    title = parse_part(archive, _PROPERTIES).findtext(_DC_TITLE)
    return None if title is None or title.strip().lower() in ("", "word document", "untitled") else title


def _blocks(path: Path, limit: int) -> Iterator[Block]:
    with open_archive(path, limit, what="a Word document") as archive:
        levels = heading_levels(archive)
        with closing(_elements(archive, _BODY)) as elements:
            yield from _of_elements(elements, levels)
        for part in _NOTES:
            if part in archive.names:
                with closing(_elements(archive, part)) as elements:
                    yield from _of_elements(elements, levels)


def _of_elements(elements: Iterator[etree._Element], levels: dict[str, int]) -> Iterator[Block]:
    in_list = False
    for element in elements:
        if element.tag == W + "tbl":
            text = table_of(element)
            if text:
                yield Block(("\n" if in_list else "") + text + "\n", kind="rows")
                in_list = False
            continue
        for paragraph in paragraphs_of(element, levels):
            if in_list and not paragraph.list_item:
                yield Block("\n")
            in_list = paragraph.list_item
            yield _block(paragraph)


def _block(paragraph: Paragraph) -> Block:
    if paragraph.list_item:
        return Block("  " * paragraph.depth + "- " + paragraph.text + "\n")
    return Block(paragraph.text + "\n\n", heading=paragraph.heading)


def _elements(archive: Archive, name: str) -> Generator[etree._Element]:
    """The paragraphs and tables of a part that stand in no other paragraph or table, each forgotten once read."""
    with archive.part(name) as file:
        try:
            walk = etree.iterparse(
                file, events=("start", "end"), huge_tree=True, resolve_entities=False, no_network=True, load_dtd=False
            )
            inside = 0
            for event, element in walk:
                if element.tag not in (W + "p", W + "tbl"):
                    continue
                if event == "start":
                    _refuse_dtd(element, name)
                    inside += 1
                    continue
                inside -= 1
                if not inside:
                    yield element
                    _forget(element)
        except etree.XMLSyntaxError as error:
            raise DocumentError(f"damaged: its part {name} is not well-formed XML ({error.msg})") from error


def _refuse_dtd(element: etree._Element, name: str) -> None:
    parent = element.getparent()
    if parent is not None and parent.getparent() is not None and parent.getparent().getparent() is None:
        internal = element.getroottree().docinfo.internalDTD
        if internal is not None:
            raise DocumentError(f"refused: its part {name} declares XML entities, which Word never writes")


def _forget(element: etree._Element) -> None:
    element.clear()
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]
