"""Follows a grammar token by token, through `llguidance` (MIT): which tokens keep to it, and which it leaves no choice
about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int32

from .errors import ConstraintError

if TYPE_CHECKING:
    from llguidance import LLMatcher


class GrammarRule:
    """Implements `TokenRule` for a text in a grammar."""

    def __init__(self, matcher: LLMatcher, mask_words: int) -> None:
        """``matcher`` stands at the grammar's beginning, and is this rule's own; masks have ``mask_words`` words."""
        self._matcher, self._mask_words = matcher, mask_words

    def allowed(self) -> Int32[np.ndarray, " W"]:
        packed_W = np.frombuffer(self._matcher.compute_bitmask(), np.int32)[: self._mask_words]
        self._check()
        if not packed_W.any():
            raise ConstraintError("no text that this model can write keeps to the constraint: loosen it")
        return packed_W

    def forced(self) -> Sequence[int]:
        return self._matcher.compute_ff_tokens()

    def accept(self, token: int) -> bool:
        self._matcher.consume_token(token)
        self._check()
        return True

    @property
    def finished(self) -> bool:
        stopped = self._matcher.is_stopped()
        self._check()
        return stopped

    def _check(self) -> None:
        """The matcher tells of nothing by itself, and never leaves a state of error."""
        if self._matcher.is_error():
            reason = self._matcher.get_error().strip().splitlines()[0]
            raise ConstraintError(f"the output cannot be kept to its constraint any longer: {reason}")
