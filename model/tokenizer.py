"""Text to tokens and back, with the chat template and the marker tokens that the checkpoint came with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .chat_template import ChatTemplate
from .protocol import Message

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

    def render(self, messages: Sequence[Message]) -> str:
        """The template's prompt for ``messages``; markers spelled out in them are taken apart, so that no message
        can end itself and begin another."""
        spelled = [token.content for token in self.backend.get_added_tokens_decoder().values() if token.special]
        return self.template.render([_as_data(message, spelled) for message in messages])

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens of plain text with the checkpoint's beginning marker, once."""
        plain = self.encode(text)
        if not plain or plain[0] == self.begin_token:
            return plain
        return self.backend.encode(text, add_special_tokens=True).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens`` without markers; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(list(tokens), skip_special_tokens=True)


def _as_data(message: Message, markers: Sequence[str]) -> Message:
    content = message["content"]
    for marker in markers:
        if len(marker) > 1:
            content = content.replace(marker, f"{marker[0]} {marker[1:]}")
    return {"role": message["role"], "content": content}
