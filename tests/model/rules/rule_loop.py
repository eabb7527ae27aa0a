"""A loop that does what the engine does with a rule, on logits that a test makes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from capibara.model import Sampling
from capibara.model.masks import everything, unpack
from capibara.model.rulebook import Rulebook
from capibara.model.rules import TokenRule
from capibara.model.sampling import choice_of, choose
from capibara.model.tokenizer import TextTokenizer

OUTPUTS = 270
"""More than the byte tokenizer's tokens, and no multiple of 32."""

Logits = Callable[[list[int]], np.ndarray]
"""[OUTPUTS] from the tokens of the output so far."""

_choose = jax.jit(choose)


@dataclass
class Output:
    """What came of a generation: its tokens, which of them were chosen, and whether it came to its end."""

    tokens: list[int] = field(default_factory=list)
    chosen: int = 0
    dropped: int = 0
    complete: bool = False


def generate(rule: TokenRule, logits: Logits, sampling: Sampling, ends: frozenset[int], most: int = 400) -> Output:
    """Follow the rule until it or an end token ends the output; every choice is checked against the rule's mask."""
    output, choice, steps = Output(), choice_of(sampling, 0), 0
    while not rule.finished and len(output.tokens) < most:
        if forced := list(rule.forced()):
            for token in forced:
                assert rule.accept(token)
                output.tokens.append(token)
            continue
        steps += 1
        packed_W = rule.allowed()
        packed_W = everything(OUTPUTS) if packed_W is None else packed_W
        logits_BV, seen_BV = jnp.asarray(logits(output.tokens))[None], jnp.zeros((1, OUTPUTS), bool)
        token = int(_choose(logits_BV, seen_BV, choice, np.int32(steps), jnp.asarray(packed_W)[None])[0])
        assert unpack(packed_W, OUTPUTS)[token]
        if not rule.accept(token):
            output.dropped += 1
            assert rule.forced()
        elif token in ends:
            output.complete = True
            return output
        else:
            output.chosen += 1
            output.tokens.append(token)
    output.complete = rule.finished
    return output


@dataclass(frozen=True)
class Rules:
    """A tokenizer with its rulebook, and outputs under its rules."""

    tokenizer: TextTokenizer
    rulebook: Rulebook

    def output(self, logits: Logits, *, temperature: float = 0.0, seed: int = 0, most: int = 400, **asked) -> Output:
        rule = self.rulebook.rule(asked.get("constraint"), asked.get("thinking"))
        assert rule is not None
        return self.follow(rule, logits, temperature=temperature, seed=seed, most=most)

    def follow(
        self, rule: TokenRule, logits: Logits, *, temperature: float = 0.0, seed: int = 0, most: int = 400
    ) -> Output:
        return generate(rule, logits, Sampling(temperature=temperature, seed=seed), self.tokenizer.end_tokens, most)

    def text(self, output: Output) -> str:
        return self.tokenizer.backend.decode(output.tokens, skip_special_tokens=False)

    def writes(self, text: str) -> Logits:
        """Logits of a model that writes this text and its end, token for token, whatever comes between."""
        script = [*self.tokenizer.encode(text), min(self.tokenizer.end_tokens)]
        return lambda tokens: one_hot(script[min(len(tokens), len(script) - 1)])


def one_hot(*tokens: int) -> np.ndarray:
    """Logits that prefer these tokens, the first before the second and so on, to all others."""
    logits = np.zeros(OUTPUTS, np.float32)
    logits[list(tokens)] = np.arange(len(tokens), 0, -1) * 10.0
    return logits


def random_logits(seed: int, scale: float = 3.0) -> Logits:
    rng = np.random.default_rng(seed)
    return lambda tokens: rng.normal(0, scale, OUTPUTS).astype(np.float32)
