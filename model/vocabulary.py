"""What rules need to know of a model's tokens: the bytes each stands for, and how text becomes tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConstraintError
from .once import Once
from .tokenizer import TextTokenizer

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Vocabulary:
    """The tokens of one tokenizer, in a model whose logits are ``size`` wide. Light to construct; thread-safe."""

    def __init__(self, tokenizer: TextTokenizer, size: int) -> None:
        self.tokenizer, self.size = tokenizer, size
        self._matching = Once(lambda: _matching(tokenizer, size))
        self._pieces = Once(lambda: _pieces(self.matching))

    @property
    def matching(self) -> LLTokenizer:
        """The tokenizer as `llguidance` has it; made once, which takes a quarter of a second for 50,000 tokens.

        Raises:
            ConstraintError: it is of a kind whose tokens do not stand for bytes.
        """
        return self._matching()

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of each token; of a marker, those it is spelled with."""
        return self._pieces()

    def spelled(self, text: str) -> list[int]:
        """Tokens, none of them a marker, whose bytes are exactly those of ``text``, wherever it stands."""
        return self.matching.greedy_tokenize(text)


def _matching(tokenizer: TextTokenizer, size: int) -> LLTokenizer:
    from llguidance import LLTokenizer

    # Networks have more outputs than tokens, and seldom fewer.
    outputs = max(size, tokenizer.backend.get_vocab_size())
    try:
        return LLTokenizer(tokenizer.backend.to_str(), n_vocab=outputs, eos_token=sorted(tokenizer.end_tokens))
    except ValueError as error:
        raise ConstraintError(
            f"this model's output cannot be constrained: its tokenizer does not suit ({error})"
        ) from error


def _pieces(matching: LLTokenizer) -> list[bytes]:
    return [matching.decode_bytes([token]) for token in range(matching.vocab_size)]
