"""The context of a chunk: the document's title and the headings it stands under, in few tokens."""

from __future__ import annotations

from .protocols import Embedder

_SEPARATOR = " › "


def joined(context: str, text: str) -> str:
    """A context and a text as they are embedded together."""
    return f"{context}\n{text}" if context else text


class HeadingPath:
    """The headings above the place a walk has come to, below the document's title."""

    def __init__(self, embedder: Embedder, title: str, most_tokens: int) -> None:
        self._embedder = embedder
        self._title = " ".join(title.split())
        self._most_tokens = most_tokens
        self._headings: list[tuple[int, str]] = []
        self._built: dict[tuple[str, ...], tuple[str, int]] = {}

    def enter(self, level: int, heading: str) -> None:
        """Come to a heading: those of the same or a lower rank are left behind."""
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, " ".join(heading.split())))

    def context(self) -> str:
        """The context of what stands here."""
        return self._build([heading for _, heading in self._headings])[0]

    def context_above(self, level: int | None) -> str:
        """The context of a chunk that opens with a heading of ``level`` (none: with no heading)."""
        return self._build([heading for above, heading in self._headings if level is None or above < level])[0]

    def cost(self, context: str) -> int:
        """Tokens of a context that this object has built."""
        return next((tokens for built, tokens in self._built.values() if built == context), 0)

    def _build(self, headings: list[str]) -> tuple[str, int]:
        parts = tuple(dict.fromkeys(part for part in (self._title, *headings) if part))
        if parts not in self._built:
            if len(self._built) > 8:
                self._built.clear()
            self._built[parts] = self._fit(list(parts))
        return self._built[parts]

    def _fit(self, parts: list[str]) -> tuple[str, int]:
        """Join ``parts`` within the limit: the middle ones go first, then the title, then the rest is cut."""
        while True:
            text = _SEPARATOR.join(parts)
            offsets = self._embedder.token_offsets(text)
            if len(offsets) <= self._most_tokens or len(parts) <= 1:
                break
            del parts[1 if len(parts) > 2 else 0]
        while len(offsets) > self._most_tokens:
            text = text[: int(offsets[self._most_tokens, 0])].rstrip()
            offsets = self._embedder.token_offsets(text)
        return text, len(offsets)
