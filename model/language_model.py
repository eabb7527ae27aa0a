"""The language model of this room: a checkpoint, run by JAX, behind the `LanguageModel` seam."""

from __future__ import annotations

import copy
import functools
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .errors import EmptyPrompt, NumericalError, PromptTooLong
from .protocol import Delta, FinishReason, Generation, LanguageModel, Message, Sampling, Usage
from .text_stream import StopStrings, TextStream
from .tokenizer import TextTokenizer

if TYPE_CHECKING:
    from .runner import DecoderRunner


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent on a generation's two parts."""

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


class _Network:
    """What is loaded from a checkpoint, each part when first needed. Thread-safe."""

    def __init__(self, checkpoint: Checkpoint, load_runner: Callable[[], DecoderRunner]) -> None:
        self._checkpoint = checkpoint
        self._load_runner = load_runner
        self._loading = threading.Lock()

    @functools.cached_property
    def tokenizer(self) -> TextTokenizer:
        return self._checkpoint.tokenizer()

    @property
    def runner(self) -> DecoderRunner:
        with self._loading:
            return self._runner

    @functools.cached_property
    def _runner(self) -> DecoderRunner:
        return self._load_runner()


class JaxLanguageModel:
    """Implements `LanguageModel`. Several streams may run at once; each has caches of its own.

    ``load_runner`` does the heavy work (reading weights, starting JAX), once, at `warm_up` or the first generation.
    """

    def __init__(
        self, checkpoint: Checkpoint, load_runner: Callable[[], DecoderRunner], *, context_tokens: int | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._network = _Network(checkpoint, load_runner)
        own = checkpoint.config.context_tokens
        self._context_tokens = own if context_tokens is None else min(own, context_tokens)

    @property
    def name(self) -> str:
        return self._checkpoint.name

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together; the settings can lower the checkpoint's own number, not raise it."""
        return self._context_tokens

    def warm_up(self, instead_of: LanguageModel | None = None) -> None:
        """Load the weights and make the steps of a short generation ready.

        ``instead_of`` is a model in use whose place this one will take: the steps it has run are made ready too, so
        that no request has to wait for them.

        Raises:
            CheckpointError: the weights are damaged or incomplete.
        """
        for _ in self.stream("a", Sampling(max_tokens=2)):
            pass
        if isinstance(instead_of, JaxLanguageModel):
            self.runner.make_ready(instead_of.runner.shapes)

    def limited_to(self, context_tokens: int | None) -> JaxLanguageModel:
        """The same network, loaded once for both, with another limit of the context; see `context_tokens`."""
        twin = copy.copy(self)
        own = self._checkpoint.config.context_tokens
        twin._context_tokens = own if context_tokens is None else min(own, context_tokens)
        return twin

    def encode(self, text: str) -> list[int]:
        """Tokens of ``text`` alone, without a beginning marker."""
        return self._tokenizer.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens`` without markers."""
        return self._tokenizer.decode(tokens)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of the checkpoint's chat template; markers spelled out in ``messages`` do not count as such.

        Raises:
            UnsupportedCheckpoint: the checkpoint has no template.
            ModelError: the template refuses these messages.
        """
        return self._tokenizer.render(messages)

    def stream(
        self, prompt: str | Sequence[Message], sampling: Sampling, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Generate, piece by piece; closing the iterator or setting ``cancel`` stops the device work.

        Raises:
            EmptyPrompt: there is nothing to continue.
            PromptTooLong: the prompt leaves no room for one token; names both counts.
            NumericalError: the network's output is not finite.
        """
        return self._stream(self._prompt_tokens(prompt), sampling, cancel or threading.Event(), Stopwatch())

    def generate(
        self, prompt: str | Sequence[Message], sampling: Sampling, cancel: threading.Event | None = None
    ) -> Generation:
        """The whole of `stream` at once, with its timings."""
        watch = Stopwatch()
        deltas = list(self._stream(self._prompt_tokens(prompt), sampling, cancel or threading.Event(), watch))
        last = deltas[-1]
        if last.finish_reason is None or last.usage is None:
            raise AssertionError("a stream ends with its reason and usage")
        text = "".join(delta.text for delta in deltas)
        return Generation(text, last.finish_reason, last.usage, watch.prefill_seconds, watch.decode_seconds)

    @property
    def _tokenizer(self) -> TextTokenizer:
        return self._network.tokenizer

    @property
    def runner(self) -> DecoderRunner:
        """The loaded network."""
        return self._network.runner

    def _prompt_tokens(self, prompt: str | Sequence[Message]) -> list[int]:
        """A chat template writes the beginning marker itself; plain text gets it from the tokenizer."""
        if isinstance(prompt, str):
            tokens = self._tokenizer.encode_prompt(prompt)
        else:
            tokens = self._tokenizer.encode(self.render(prompt))
        if not tokens:
            raise EmptyPrompt
        if len(tokens) >= self.context_tokens:
            raise PromptTooLong(len(tokens), self.context_tokens)
        return tokens

    def _stream(
        self, prompt: list[int], sampling: Sampling, cancel: threading.Event, watch: Stopwatch
    ) -> Iterator[Delta]:
        most = min(sampling.max_tokens, self.context_tokens - len(prompt))
        text, stops = TextStream(self.decode), StopStrings(sampling.stop)
        reason: FinishReason = "length"
        count = 0
        for token in self._tokens(prompt, most, sampling, cancel, watch):
            if token in self._tokenizer.end_tokens:
                reason = "stop"
                break
            count += 1
            piece = stops.add(text.add(token))
            if stops.found:
                reason = "stop"
                yield Delta(piece, reason, Usage(len(prompt), count))
                return
            if piece:
                yield Delta(piece)
        if reason != "stop" and count < most:
            reason = "cancelled"
        yield Delta(stops.rest(), reason, Usage(len(prompt), count))

    def _tokens(
        self, prompt: list[int], most: int, sampling: Sampling, cancel: threading.Event, watch: Stopwatch
    ) -> Iterator[int]:
        """Generated tokens, at most ``most``; ends early when ``cancel`` is set."""
        from .runner import cache_slots, chunks_of
        from .sampling import choice_of

        runner = self.runner
        choice = choice_of(sampling, secrets.randbits(63))
        began = time.perf_counter()
        progress = runner.begin(
            cache_slots(max(len(prompt) + most, sum(chunk.size for chunk in chunks_of(len(prompt)))))
        )
        for chunk in chunks_of(len(prompt)):
            if cancel.is_set():
                return
            progress = runner.prefill(progress, prompt, chunk, choice)
            progress.token.block_until_ready()
        token = _finite(int(progress.token[0, 0]))
        watch.prefill_seconds = time.perf_counter() - began
        for position in range(len(prompt), len(prompt) + most):
            if cancel.is_set():
                return
            yield token
            if position + 1 == len(prompt) + most:
                return
            began = time.perf_counter()
            progress = runner.advance(progress, position, choice)
            token = _finite(int(progress.token[0, 0]))
            watch.decode_seconds += time.perf_counter() - began


def _finite(token: int) -> int:
    if token < 0:
        raise NumericalError(
            "the model's output is not finite: its weights are damaged or too large for this arithmetic"
        )
    return token
