"""How a question and a passage become one row of tokens: ``[CLS] question [SEP] passage [SEP]``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer

from ..adapter_files import CONFIG_FILE
from ..errors import CheckpointError, UnsupportedCheckpoint
from .errors import InvalidOption

_RECORD = "capibara_pairs"
"""Key of an adapter's configuration; other tools pass it over."""


@dataclass(frozen=True, slots=True)
class PairFormat:
    """Tokens of a pair at most, the three special ones among them, and of its question."""

    max_tokens: int = 256
    question_tokens: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.question_tokens < self.max_tokens - PairTokens.frame:
            raise InvalidOption(
                f"question_tokens is {self.question_tokens} of {self.max_tokens} max_tokens: "
                "leave room for the passage and three special tokens"
            )


class PairTokens:
    """The tokenizer of an encoder's folder (``tokenizer.json``), for pairs.

    Raises:
        CheckpointError: there is no tokenizer, or it is damaged.
        UnsupportedCheckpoint: it does not put one token before a text and one behind.
    """

    frame = 3
    """Special tokens of a pair."""

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the tokenizers library raises no narrower class
            raise CheckpointError(f"{folder / 'tokenizer.json'}: cannot be read as a tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        around = self._tokenizer.encode("").ids
        if len(around) != 2:
            raise UnsupportedCheckpoint(
                f"{folder / 'tokenizer.json'}: puts {len(around)} special tokens around a text; two are supported"
            )
        self._first, self._last = around
        padding = self._tokenizer.token_to_id("[PAD]")
        self.padding: int = 0 if padding is None else padding
        self._exchangeable = _exchangeable(self._tokenizer)

    def ids(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
        """Each text's tokens (int32), whole and without special ones."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def offsets(self, texts: Sequence[str]) -> list[Int[np.ndarray, "_ 2"]]:
        """Where each of a text's tokens (`ids`) begins and ends in it, in characters (int32)."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.offsets, np.int32).reshape(-1, 2) for encoding in encodings]

    def pair(self, question: np.ndarray, passage: np.ndarray, form: PairFormat) -> Int[np.ndarray, " T"]:
        """One row of tokens, cut to ``form``."""
        question = question[: form.question_tokens]
        passage = passage[: form.max_tokens - self.frame - len(question)]
        return np.concatenate([[self._first], question, [self._last], passage, [self._last]]).astype(np.int32)

    def cipher(self, rng: np.random.Generator) -> Int[np.ndarray, " V"]:
        """A random table from tokens to tokens: beginnings of words change places with one another, and so do
        continuations; digits, punctuation, single letters and special tokens stay."""
        table_V = np.arange(self._tokenizer.get_vocab_size())
        for pieces in self._exchangeable:
            table_V[pieces] = rng.permutation(pieces)
        return table_V


def record_pair_format(folder: Path, form: PairFormat) -> None:
    """Write into an adapter's configuration how the pairs were laid out that it was trained on.

    Raises:
        OSError: it cannot be written.
    """
    file = folder / CONFIG_FILE
    unfinished = folder / f".{CONFIG_FILE}"
    config = json.loads(file.read_text(encoding="utf-8"))
    unfinished.write_text(json.dumps(config | {_RECORD: asdict(form)}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(file)


def _exchangeable(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """The word pieces of two letters and more: those that begin a word, and those that go on (``##ing``)."""
    beginnings, continuations = [], []
    for piece, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        letters = piece.removeprefix("##")
        if len(letters) > 1 and letters.isalpha():
            (continuations if piece.startswith("##") else beginnings).append(number)
    return np.array(beginnings, int), np.array(continuations, int)
