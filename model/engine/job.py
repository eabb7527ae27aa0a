"""What is asked of the engine, what it tells meanwhile, and how that went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GenerationFailed, ModelError
from ..protocol import FinishReason

if TYPE_CHECKING:
    from ..rules import TokenRule
    from ..runner import DecoderRunner
    from ..sampling import Choice


@dataclass(frozen=True, slots=True)
class End:
    """A job is over: why, or which error ended it, and what it took.

    Attributes:
        queue_seconds: from being asked for to being taken up.
        prefill_seconds: from then to the first token.
        decode_seconds: from the first token to the end.
        prompt_tokens: of the prompt, that the caches held at the end.
        generated_tokens: were told.
        cached_tokens: of the prompt, were not run because a prompt before began alike.
        drafted_tokens: were drafted and checked, of which ``accepted_tokens`` were right.
    """

    reason: FinishReason
    error: Exception | None = None
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


def told_error(error: Exception, alone: bool = False) -> Exception:
    """What one of those whom ``error`` concerns is told: an object of its own, since each raises it in a thread of its
    own. Whoever is concerned ``alone`` gets an error of this room itself.

    The error's traceback is let go of: its frames hold the caches of the sequences that failed.
    """
    error.__traceback__ = None
    if alone and isinstance(error, ModelError):
        return error
    failed = GenerationFailed(error)
    failed.__cause__ = error
    return failed


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One generation. ``deliver`` is called from the engine's thread: with each token, then with its `End`.

    Attributes:
        prompt: at least one token.
        most: tokens to generate at most, at least 1.
        ends: tokens with which the model ends; they are not delivered.
        runner: the network to run, loaded.
        deadline: seconds of the engine's clock at which the job is given up; None: never.
        rule: what may or must come next; None: the model alone decides.
        given_up: nobody wants more of it; asked before each step.
        draft: a smaller network with the same tokens, loaded, that drafts what may come next; None: there is none.
    """

    prompt: Sequence[int]
    most: int
    ends: frozenset[int]
    runner: DecoderRunner
    choice: Choice
    deliver: Callable[[int | End], object]
    deadline: float | None = None
    rule: TokenRule | None = None
    given_up: Callable[[], bool] = lambda: False
    draft: DecoderRunner | None = None
