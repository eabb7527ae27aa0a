"""A smaller model that drafts for a larger one: it must have the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .errors import DraftMismatch
from .tokenizer import TextTokenizer

if TYPE_CHECKING:
    from .runner import DecoderRunner


@dataclass(frozen=True, slots=True)
class DraftModel:
    """A checkpoint, and what loads its network."""

    checkpoint: Checkpoint
    load_runner: Callable[[], DecoderRunner]

    def runner_for(self, name: str, tokenizer: TextTokenizer) -> DecoderRunner:
        """The network, loaded, to draft for the model ``name`` with that tokenizer.

        Raises:
            DraftMismatch: a token is another text in one than in the other.
            CheckpointError, DeviceNotFound: it cannot be loaded.
        """
        if (found := _difference(tokenizer, self.checkpoint.tokenizer())) is not None:
            raise DraftMismatch(self.checkpoint.name, name, *found)
        return self.load_runner()


def _difference(one: TextTokenizer, other: TextTokenizer) -> tuple[int, str, str] | None:
    """The first token that differs, and its texts. Tokens that one has and the other has not do no harm: models of a
    family differ in their markers, and a draft of such a token is a wrong one."""
    first, second = (
        {token: text for text, token in each.backend.get_vocab(with_added_tokens=True).items()} for each in (one, other)
    )
    for token in sorted(first.keys() & second.keys()):
        if first[token] != second[token]:
            return token, first[token], second[token]
    return None
