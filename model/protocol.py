"""The seam of the room: what a language model does for those who use it."""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

if TYPE_CHECKING:
    from .engine.options import EngineOptions

_LARGEST_BIAS = 1e30
"""Far more than decides any choice, and far less than what float32 cannot hold."""

FinishReason = Literal["stop", "length", "cancelled"]


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def _is_whole(number: object) -> bool:
    return isinstance(number, numbers.Integral)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. ``temperature`` 0 is greedy; ``top_k`` 0, ``top_p`` 1, ``min_p`` 0 switch a filter off.

    ``opening_bias`` is a text and what is added to the logit of its first token where the first token is chosen: above
    0 a generation begins so more readily, below 0 less.

    Raises:
        ValueError: a value out of range, named.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    opening_bias: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)!r}; it must be {range_}"
            for name, range_, good in (
                ("max_tokens", "a whole number, at least 1", _is_whole(self.max_tokens) and self.max_tokens >= 1),
                ("temperature", "a finite number, 0 or more", 0.0 <= self.temperature < math.inf),
                ("top_k", "a whole number, 0 or more", _is_whole(self.top_k) and self.top_k >= 0),
                ("top_p", "above 0, at most 1", 0.0 < self.top_p <= 1.0),
                ("min_p", "between 0 and 1", 0.0 <= self.min_p <= 1.0),
                ("repetition_penalty", "a finite number above 0", 0.0 < self.repetition_penalty < math.inf),
                (
                    "seed",
                    "none, or a whole number, 0 or more",
                    self.seed is None or (_is_whole(self.seed) and self.seed >= 0),
                ),
                (
                    "opening_bias",
                    "none, or a text and a finite number",
                    self.opening_bias is None
                    or (bool(self.opening_bias[0]) and abs(self.opening_bias[1]) < _LARGEST_BIAS),
                ),
                ("stop", "a tuple of non-empty strings", isinstance(self.stop, tuple) and all(self.stop)),
            )
            if not good
        ]
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the model's own tokenizer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed generation: whole characters only; the last one carries reason and usage."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished generation. ``timings`` are seconds: prefill, decode."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    prefill_seconds: float
    decode_seconds: float


class LanguageModel(Protocol):
    """A causal language model with its tokenizer and chat template; light to construct, loads on `warm_up`."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a generation can be asked for by; none of them is loaded before it is needed."""
        ...

    def warm_up(self, instead_of: LanguageModel | None = None, *, adapters: Iterable[str] = ()) -> None:
        """Load what a generation needs, alone and with each of ``adapters``; what ``instead_of``, whose place it will
        take, has needed is made ready too.

        Raises:
            UnknownAdapter: it has no adapter of that name; names those it has.
            AdapterError: an adapter is damaged, or made for another model.
        """
        ...

    def limited_to(self, context_tokens: int | None, engine: EngineOptions | None = None) -> LanguageModel:
        """The same model with another limit of the context, and other options of its engine if they are given;
        nothing is loaded again."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt the checkpoint's chat template makes of ``messages``, ready for the assistant's turn."""
        ...

    def stream(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
    ) -> Iterator[Delta]:
        """Generate, piece by piece; closing the iterator or setting ``cancel`` stops the device work.

        ``adapter`` is the one this generation runs with; None: the model as it is.

        Raises:
            PromptTooLong: the prompt leaves no room for one token; names both counts.
            UnknownAdapter: there is no adapter of that name; names those that are there.
        """
        ...

    def generate(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
    ) -> Generation: ...
