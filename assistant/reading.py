"""What the reader is asked and what it answers: numbered passages and a question; a phrase and its passage's number.

The reader is a language model with an adapter that was trained on exactly these prompts (`training.reader_examples`).
Passages come before the question, so that a second question over the same passages begins with the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.protocol import Message

READER = "reader"
"""The name of the adapter."""

NOT_STATED = "not stated"
"""What the reader answers when no passage holds an answer."""

ABSTAIN_BIAS = -1.0
"""Added to the logarithm of the probability of `NOT_STATED`: measured, as docs/evaluation.md tells."""

INSTRUCTION = f"Answer in a few words from the passages, with the passage's number, or say: {NOT_STATED}"

_READING = re.compile(r"(?P<phrase>.*\S)\s*\[(?P<number>\d{1,2})\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """A phrase, and the number (from 1) of the passage that it was taken from."""

    phrase: str
    number: int

    def __str__(self) -> str:
        return f"{self.phrase} [{self.number}]"


def reader_messages(question: str, texts: Sequence[str]) -> list[Message]:
    """The chat whose next message is a `Reading` or `NOT_STATED`; ``texts`` are numbered from 1."""
    numbered = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"{numbered}\n\n{question}"},
    ]


def parse_reading(text: str) -> Reading | None:
    """What the reader answered; None where it says that no passage holds an answer, or writes something else."""
    found = _READING.fullmatch(text.strip())
    if found is None or found["phrase"].casefold().rstrip(".") == NOT_STATED:  # a number behind it names no answer
        return None
    return Reading(found["phrase"], int(found["number"]))
