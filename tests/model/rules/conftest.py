"""Rules of the byte tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import AddedToken

from capibara.model.rulebook import Rulebook

from .rule_loop import OUTPUTS, Rules


@pytest.fixture(scope="session")
def make_rules(tiny) -> Callable[..., Rules]:
    """Rules for the byte tokenizer, with more tokens of their own if need be."""

    def make(*added: str) -> Rules:
        tokenizer = tiny.tokenizer()
        tokenizer.backend.add_tokens([AddedToken(text) for text in added])
        return Rules(tokenizer, Rulebook(tokenizer, OUTPUTS))

    return make


@pytest.fixture(scope="session")
def rules(make_rules) -> Rules:
    return make_rules()
