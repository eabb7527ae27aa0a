"""Markdown's inline markup taken off: emphasis, links, images, code, HTML tags, entities."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[([^\[\]]*)\](?:\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+[\"'][^\"']*[\"'])?\s*\)|\[[^\[\]]*\])")
_LINK = re.compile(
    r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]"
    r"(?:\(\s*<?[^()\s]*(?:\([^()]*\)[^()\s]*)*>?(?:\s+[\"'(][^\"')]*[\"')])?\s*\)|\[[^\[\]]*\])"
)
_AUTOLINK = re.compile(r"<((?:https?|mailto|ftp):[^<>\s]+)>")
_TAG = re.compile(r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>")
_STRONG = re.compile(r"(\*\*\*|\*\*|(?<!\w)___|(?<!\w)__)(?=\S)(.+?)(?<=\S)\1(?!\w(?<=_))", re.DOTALL)
_EMPHASIS = re.compile(
    r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*(?!\*)|(?<![\w_])_(?=[^\s_])([^_]+?)(?<=[^\s_])_(?![\w_])"
)
_STRIKE = re.compile(r"~~(?=\S)(.+?)(?<=\S)~~")
_ATTRIBUTES = re.compile(r"[ \t]*\{\s*[#.:][^{}]*\}")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_HELD = "\ue000{}\ue001"
_HELD_PATTERN = re.compile("\ue000(\\d+)\ue001")


def plain(text: str) -> str:
    """``text`` as a reader sees it rendered; link targets are dropped, link texts kept."""
    held: list[str] = []

    def hold(literal: str) -> str:
        held.append(literal)
        return _HELD.format(len(held) - 1)

    text = text.replace("\ue000", "").replace("\ue001", "")
    text = _CODE.sub(lambda match: hold(match[2].strip(" ") or match[2]), text)
    text = _ESCAPE.sub(lambda match: hold(match[1]), text)
    text = _COMMENT.sub("", text)
    text = _AUTOLINK.sub(lambda match: hold(match[1]), text)
    text = _TAG.sub("", text)
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _ATTRIBUTES.sub("", text)
    text = _STRONG.sub(r"\2", text)
    text = _STRONG.sub(r"\2", text)
    text = _EMPHASIS.sub(lambda match: match[1] or match[2], text)
    text = _STRIKE.sub(r"\1", text)
    text = html.unescape(text)
    while _HELD_PATTERN.search(text):
        text = _HELD_PATTERN.sub(lambda match: held[int(match[1])], text)
    return text
