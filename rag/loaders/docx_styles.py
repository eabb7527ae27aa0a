"""Which paragraph styles of a Word document are headings, and of what level."""

from __future__ import annotations

import re

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)

from ..errors import DocumentError
from .archive import Archive

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STYLES = "word/styles.xml"
_HEADING_NAME = re.compile(r"heading (\d)$", re.IGNORECASE)


def parse_part(archive: Archive, name: str) -> etree._Element:
    """The tree of a small XML part.

    Raises:
        DocumentError: the part is not well-formed or declares entities.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    with archive.part(name) as file:
        try:
            root = etree.fromstring(file.read(), parser)
        except etree.XMLSyntaxError as error:
            raise DocumentError(f"damaged: its part {name} is not well-formed XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise DocumentError(f"refused: its part {name} declares XML entities, which Word never writes")
    return root


def heading_levels(archive: Archive) -> dict[str, int]:
    """Heading levels (1 is the highest) by style id; a style inherits the level of the one it is based on."""
    if _STYLES not in archive.names:
        return {}
    own: dict[str, int] = {}
    parents: dict[str, str] = {}
    for style in parse_part(archive, _STYLES).iter(W + "style"):
        if style.get(W + "type") != "paragraph":
            continue
        name = _value(style.find(W + "name")) or ""
        identity = style.get(W + "styleId") or name
        based = _value(style.find(W + "basedOn"))
        if based:
            parents[identity] = based
        level = _level(name, _value(style.find(f"{W}pPr/{W}outlineLvl")))
        if level is not None:
            own[identity] = level
    return {identity: level for identity in {*own, *parents} if (level := _inherited(identity, own, parents))}


def _level(name: str, outline: str | None) -> int | None:
    named = _HEADING_NAME.match(name)
    if named:
        return int(named[1])
    if name.lower() == "title":
        return 1
    return int(outline) + 1 if outline and outline.isdigit() and int(outline) < 9 else None


def _inherited(identity: str, own: dict[str, int], parents: dict[str, str]) -> int | None:
    seen: set[str] = set()
    current: str | None = identity
    while current is not None and current not in seen:
        if current in own:
            return own[current]
        seen.add(current)
        current = parents.get(current)
    return None


def _value(element: etree._Element | None) -> str | None:
    return None if element is None else element.get(W + "val")
