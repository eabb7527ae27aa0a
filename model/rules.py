"""The seam between a generation and what its output must keep to: which tokens may come next, and which must.

A generation asks its rule for every token, in this order, until the rule is `TokenRule.finished`::

    if forced := rule.forced():
        for token in forced:           # they come next whatever the network says; none of them is sampled
            append(token)
            rule.accept(token)
    else:
        token = chosen from logits that are masked by rule.allowed()
        if rule.accept(token):
            append(token)              # and the generation ends where it is an end token
        # else it is dropped, and the next forced() says what comes in its place
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Int32


class TokenRule(Protocol):
    """What one generation must keep to, with the state it has reached; for one generation, and one thread at a time."""

    def allowed(self) -> Int32[np.ndarray, " W"] | None:
        """Tokens that may be chosen next, as a packed mask of one bit for each (see `masks`); None: all of them.

        At least one may be. An end token is among them only where the output may end.

        Raises:
            ConstraintError: what the output must be has become too complex to follow.
        """
        ...

    def forced(self) -> Sequence[int]:
        """Tokens that must come next, before any is chosen; often none. Asking twice changes nothing."""
        ...

    def accept(self, token: int) -> bool:
        """Take a token that was forced, or chosen among those allowed; tokens are given one by one, in their order.

        False: the chosen token is no part of the output, and `forced`, which is not empty then, comes in its place.
        Forced tokens are always taken.

        Raises:
            ConstraintError: the token was neither forced nor allowed.
        """
        ...

    @property
    def finished(self) -> bool:
        """The output is complete, and the generation ends; nothing else is asked of the rule then."""
        ...


class FreeRule:
    """Implements `TokenRule` for text that may be anything, up to an end token."""

    def __init__(self, end_tokens: Collection[int]) -> None:
        self._end_tokens = end_tokens
        self.finished = False

    def allowed(self) -> None:
        return None

    def forced(self) -> Sequence[int]:
        return ()

    def accept(self, token: int) -> bool:
        self.finished = token in self._end_tokens
        return True
