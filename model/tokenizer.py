"""Text to tokens and back, with the chat template and the marker tokens that the checkpoint came with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .chat_template import ChatTemplate

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A `tokenizers.Tokenizer` whose post-processor adds what the checkpoint wants at the start of plain text.

    ``end_tokens`` end a generation; ``begin_token`` is None where the checkpoint adds none.
    """

    backend: Tokenizer
    template: ChatTemplate
    begin_token: int | None
    end_tokens: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Tokens of ``text`` alone; markers spelled out in it become marker tokens."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens of plain text with the checkpoint's beginning marker, once."""
        plain = self.encode(text)
        if not plain or plain[0] == self.begin_token:
            return plain
        return self.backend.encode(text, add_special_tokens=True).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens`` without markers; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(list(tokens), skip_special_tokens=True)
