"""What of an HTML page is its content: navigation, advertising, hidden and scripted parts are taken out."""

from __future__ import annotations

import re

from lxml.html import HtmlElement


def tags(names: str) -> frozenset[str]:
    """A set of names out of a list parted by blanks."""
    return frozenset(names.split())


_DROPPED = tags("""
    script style noscript template svg math-renderer nav aside iframe object embed canvas audio video button select
    textarea input dialog head
    """)
_PAGE_FRAME = tags("header footer form")
_ROLES = tags("navigation banner contentinfo complementary search menu menubar toolbar dialog alertdialog")
_BOILERPLATE = re.compile(
    r"(?:^|[\s_-])(?:navbar|navbox|nav|navigation|menu|sidebar|breadcrumbs?|cookies?|footer|toc|pagination|pager|share"
    r"|sharing|social|advert|advertisement|ads|banner|skip-?link|skip-?to|editsection|cite-backlink|jump-link|catlinks|printfooter"
    r"|noprint|hash-link|headerlink|visually-hidden|sr-only|screen-reader-text|mw-empty-elt)(?:$|[\s_-])",
    re.IGNORECASE,
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LEAST_TEXT = 200
_LINK_LIST = 8


def main_content(root: HtmlElement) -> HtmlElement:
    """The element that holds the page's content, cleaned in place.

    The one ``main`` element, else the one ``article``, else the body. If cleaning leaves nothing, the body as it is
    without scripts: better boilerplate than an empty document.
    """
    body = root.find("body")
    body = body if body is not None else root
    for tag in ("script", "style", "noscript", "template"):
        for element in list(body.iter(tag)):
            _drop(element)
    content = _marked(body)
    before = len(content.text_content().strip())
    unwanted = [element for element in content.iterdescendants() if _unwanted(element, content)]
    text = sum(len(element.text_content()) for element in _outermost(unwanted))
    if before and text >= before and not _rest(content, unwanted):
        return content
    for element in unwanted:
        _drop(element)
    return content


def _marked(body: HtmlElement) -> HtmlElement:
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = [element for element in body.iterfind(path) if len(element.text_content().strip()) >= _LEAST_TEXT]
        if len(found) == 1:
            return found[0]
    return body


def _unwanted(element: HtmlElement, content: HtmlElement) -> bool:
    if not isinstance(element.tag, str):
        return True
    if element.tag in _DROPPED or element.get("role") in _ROLES:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if _HIDDEN_STYLE.search(element.get("style") or ""):
        return True
    if element.tag == "sup" and "reference" in (element.get("class") or "").split():
        return True
    outside = content.tag == "body"
    if outside and element.tag in _PAGE_FRAME and not any(True for _ in element.iterancestors("article", "main")):
        return True
    if element.tag in ("h1", "h2", "h3", "p", "body", "main", "article"):
        return False
    if any(_BOILERPLATE.search(element.get(name) or "") for name in ("class", "id")):
        return next(element.iterdescendants("h1", "main", "article"), None) is None
    return outside and element.tag in ("ul", "ol") and _is_link_list(element)


def _is_link_list(element: HtmlElement) -> bool:
    """Many short links and hardly any other text."""
    links = [link.text_content().strip() for link in element.iter("a")]
    text = len("".join(element.text_content().split()))
    linked = sum(len("".join(link.split())) for link in links)
    return len(links) >= _LINK_LIST and linked >= 0.9 * text and linked < 30 * len(links)


def _outermost(elements: list[HtmlElement]) -> list[HtmlElement]:
    chosen = set(elements)
    return [element for element in elements if not any(above in chosen for above in element.iterancestors())]


def _rest(content: HtmlElement, unwanted: list[HtmlElement]) -> bool:
    """Whether any text stands outside the unwanted elements."""
    dropped = set(unwanted)
    for element in content.iter():
        if element in dropped or any(above in dropped for above in element.iterancestors()):
            continue
        if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
            return True
    return False


def _drop(element: HtmlElement) -> None:
    """Empty an element; an inline one leaves no gap between the texts about it.

    Removing it would write the text behind it anew, which lxml refuses where that holds control characters.
    """
    inline = element.tag in ("sup", "span", "a", "button", "svg", "select", "input")
    element.clear(keep_tail=True)
    element.tag = "span" if inline else "div"
