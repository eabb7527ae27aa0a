"""Makes the rule of each generation from what its request asks for, in the tokens of one model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .constraints import Constraint
from .errors import ConstraintError
from .grammar_rule import GrammarRule
from .masks import words
from .rules import FreeRule, TokenRule
from .thinking import ThinkingBudget, ThinkingRule, ThinkingTokens
from .tokenizer import TextTokenizer
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

_KEPT = 64
"""Constraints, and budgets, whose tables are kept for requests that ask for them again."""


class Rulebook:
    """Rules for the generations of one model. Light to construct; thread-safe."""

    def __init__(self, tokenizer: TextTokenizer, outputs: int) -> None:
        """``outputs`` is the number of logits, for which masks are made."""
        self._end_tokens, self._mask_words = tokenizer.end_tokens, words(outputs)
        vocabulary = Vocabulary(tokenizer, outputs)
        self._matcher = functools.lru_cache(_KEPT)(functools.partial(_matcher, vocabulary))
        self._thinking_tokens = functools.lru_cache(_KEPT)(functools.partial(ThinkingTokens, vocabulary))

    def rule(self, constraint: Constraint | None, thinking: ThinkingBudget | None = None) -> TokenRule | None:
        """The rule for one generation: a thought first, if it is asked for, then a text that keeps to ``constraint``.

        None where nothing is asked for.

        Raises:
            ConstraintError: the constraint is too large, no thought fits between the budget's bounds, or the model's
                tokenizer is of a kind that cannot be followed.
        """
        answer = None if constraint is None else self._answer(constraint)
        if thinking is None:
            return answer
        return ThinkingRule(self._thinking_tokens(thinking), answer or FreeRule(self._end_tokens))

    def _answer(self, constraint: Constraint) -> TokenRule:
        return GrammarRule(self._matcher(constraint.grammar).deep_copy(), self._mask_words)


def _matcher(vocabulary: Vocabulary, grammar: str) -> LLMatcher:
    from llguidance import LLMatcher

    matcher = LLMatcher(vocabulary.matching, grammar, log_level=0)
    if matcher.is_error():
        reason = matcher.get_error().strip().splitlines()[0]
        raise ConstraintError(f"the constraint cannot be followed: {reason}")
    return matcher
