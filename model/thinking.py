"""Holds a model that thinks before it answers to a number of tokens (budget forcing, s1: 2501.19393).

A thought is what stands before the end marker. Where the model would end it too early, the marker is held back and
"Wait" is written in its place, so that it thinks on; where it has gone on for long enough, the marker is written too.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int32

from .constraints import is_text
from .end_marker import EndMarker
from .errors import ConstraintError
from .masks import everything, pack, without
from .rules import TokenRule
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """Bounds of a thought in tokens, ``wait_text`` counted and the markers not; ``maximum`` None is no bound.

    ``waits`` is how many ends that come before the ``minimum`` are replaced by ``wait_text``. Once it is used up, and
    from the start where it is 0, the marker cannot be chosen until the minimum is reached: the thought is never
    shorter. A marker that the model spells with several tokens is replaced at its last one; those before it stay.

    ``begin_marker`` is written first, for models whose chat template does not do it.

    Raises:
        ConstraintError: a value out of range or of another kind, named.
    """

    minimum: int = 0
    maximum: int | None = None
    waits: int = 2
    end_marker: str = "</think>"
    wait_text: str = "Wait"
    begin_marker: str = ""

    def __post_init__(self) -> None:
        if wrong := list(self._of_other_kinds()):
            raise ConstraintError("; ".join(wrong))
        marker = self.end_marker
        tails = [marker[start:] for start in range(1, len(marker))]
        wrong = [
            complaint
            for complaint, found in (
                (f"minimum is {self.minimum}; it must be 0 or more", self.minimum < 0),
                (
                    f"maximum is {self.maximum}; it must be none, or the minimum of {self.minimum} or more",
                    self.maximum is not None and self.maximum < self.minimum,
                ),
                (f"waits is {self.waits}; it must be 0 or more", self.waits < 0),
                ("end_marker is empty; it must be what the model ends its thoughts with", not marker),
                ("wait_text is empty; give it a text, or set waits to 0", self.waits > 0 and not self.wait_text),
                (
                    f"wait_text {self.wait_text!r} would complete the end marker {marker!r}; choose another",
                    marker in self.wait_text or self.wait_text.startswith(tuple(tails)),
                ),
            )
            if found
        ]
        if wrong:
            raise ConstraintError("; ".join(wrong))

    def _of_other_kinds(self) -> Iterator[str]:
        for name in ("minimum", "maximum", "waits"):
            number = getattr(self, name)
            if (not isinstance(number, int) or isinstance(number, bool)) and not (name == "maximum" and number is None):
                yield f"{name} is {number!r}; it must be a whole number"
        for name in ("end_marker", "wait_text", "begin_marker"):
            if not is_text(text := getattr(self, name)):
                yield f"{name} is {text!r}; it must be a text"


class ThinkingTokens:
    """A budget in the tokens of one model. Thread-safe; serves any number of generations."""

    def __init__(self, vocabulary: Vocabulary, budget: ThinkingBudget) -> None:
        """
        Raises:
            ConstraintError: the text for a wait does not fit between the bounds; names the numbers.
        """
        encode = vocabulary.tokenizer.encode
        self.budget, self._vocabulary = budget, vocabulary
        self.begin, self.wait = tuple(encode(budget.begin_marker)), tuple(encode(budget.wait_text))
        self.marker = EndMarker(budget.end_marker.encode(), vocabulary.pieces)
        self.allowed = functools.cache(self._allowed)
        longest = budget.minimum - 1 + len(self.wait)
        if budget.waits and budget.minimum and budget.maximum is not None and longest > budget.maximum:
            raise ConstraintError(
                f"{budget.wait_text!r} has {len(self.wait)} tokens, and a thought that is made to wait just below the "
                f"minimum of {budget.minimum} would be longer than the maximum of {budget.maximum}: raise the maximum"
            )

    def end(self, state: int) -> tuple[int, ...]:
        """Tokens that write what is missing of the end marker."""
        if state == 0:
            return tuple(self._vocabulary.tokenizer.encode(self.budget.end_marker))
        return tuple(self._vocabulary.spelled(self.marker.rest(state)))

    def alone(self, token: int) -> Int32[np.ndarray, " W"]:
        """The mask that allows this token and no other."""
        return pack([token], self._vocabulary.size)

    def _allowed(self, state: int, may_close: bool) -> Int32[np.ndarray, " W"]:
        """All but end tokens and those that go on behind the marker; and but those that complete it, if none may."""
        exactly, beyond = self.marker.closing(state)
        kept_out = self._vocabulary.tokenizer.end_tokens | beyond | (frozenset() if may_close else exactly)
        outputs = self._vocabulary.size
        return without(everything(outputs), (token for token in kept_out if token < outputs))


class ThinkingRule:
    """Implements `TokenRule`: a thought within a budget, and behind its end marker what ``answer`` allows."""

    def __init__(self, tokens: ThinkingTokens, answer: TokenRule) -> None:
        self._tokens, self._budget, self._answer = tokens, tokens.budget, answer
        self._state = 0
        self._stage: Literal["begin", "thought", "end", "answer"] = "begin"
        self._forced = deque(tokens.begin)
        self.thought_tokens = 0
        """Tokens before the one that completed the end marker; what began the thought is not counted."""
        self.waits = 0
        """Ends that have been replaced."""
        self._go_on()

    def allowed(self) -> Int32[np.ndarray, " W"] | None:
        if self._stage == "answer":
            return self._answer.allowed()
        if self._forced:
            return self._tokens.alone(self._forced[0])
        may_close = self._long_enough or self.waits < self._budget.waits
        return self._tokens.allowed(self._state, may_close)

    def forced(self) -> Sequence[int]:
        return self._answer.forced() if self._stage == "answer" else tuple(self._forced)

    def accept(self, token: int) -> bool:
        if self._stage == "answer":
            return self._answer.accept(token)
        if self._forced:
            self._take_forced(token)
        elif token in self._tokens.marker.closing(self._state).exactly:
            if not self._long_enough:
                self.waits += 1
                self._forced.extend(self._tokens.wait)
                return False
            self._stage = "answer"
        else:
            self._think(token)
        self._go_on()
        return True

    @property
    def finished(self) -> bool:
        return self._stage == "answer" and self._answer.finished

    @property
    def _long_enough(self) -> bool:
        return self.thought_tokens >= self._budget.minimum

    @property
    def _thought_enough(self) -> bool:
        return self._budget.maximum is not None and self.thought_tokens >= self._budget.maximum

    def _take_forced(self, token: int) -> None:
        expected = self._forced.popleft()
        if token != expected:
            raise ConstraintError(f"token {expected} was forced, and {token} came")
        if self._stage == "thought":
            self._think(token)

    def _think(self, token: int) -> None:
        self.thought_tokens += 1
        self._state = self._tokens.marker.after(self._state, token)

    def _go_on(self) -> None:
        """To the next stage, when nothing is left to do in this one."""
        if self._forced:
            return
        if self._stage == "begin":
            self._stage = "thought"
        if self._stage == "end":
            self._stage = "answer"
        elif self._stage == "thought" and self._thought_enough:
            self._stage = "end"
            self._forced.extend(self._tokens.end(self._state))
