"""An opened document: what every loader of this package hands back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from ..errors import DocumentError
from ..values import Block

_PEEKED_BLOCKS = 16


class StreamedDocument:
    """A document whose blocks are read as they are asked for; implements `LoadedDocument`.

    The first blocks are read at once, so that a file without any text or with a broken beginning fails when it is
    opened, and so that the first heading can serve as title.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        title: str | None = None,
        pages: int | None = None,
        warnings: list[str] | None = None,
        no_text: str = "empty: it holds no text",
    ) -> None:
        """Open a document.

        Args:
            title: the title the format itself declares; none: the first heading among the first blocks.
            warnings: shared with the reader, which may append until the blocks are consumed.
            no_text: why there is nothing to read, when there is not.

        Raises:
            DocumentError: the document holds no text, or its beginning cannot be read.
        """
        blocks = (block for block in blocks if block.text)
        head: list[Block] = []
        for block in blocks:
            head.append(block)
            if block.text.strip():
                break
        else:
            raise DocumentError(no_text)
        head.extend(islice(blocks, _PEEKED_BLOCKS))
        self.title = _clean(title) or _first_heading(head)
        self.pages = pages
        self._warnings = warnings if warnings is not None else []
        self._blocks = chain(head, blocks)

    @property
    def warnings(self) -> Sequence[str]:
        """Things to tell the user; complete once the blocks are consumed."""
        return tuple(self._warnings)

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks once, in order."""
        return iter(self._blocks)


def _first_heading(blocks: Sequence[Block]) -> str | None:
    """The text of the highest heading, if it opens the document or is a top-level one."""
    headings = [(block.heading, i) for i, block in enumerate(blocks) if block.heading is not None]
    if not headings:
        return None
    level, i = min(headings)
    opens = not any(block.text.strip() for block in blocks[:i])
    return _clean(blocks[i].text) if opens or level == 1 else None


def _clean(title: str | None) -> str | None:
    return " ".join(title.split()) or None if title else None
