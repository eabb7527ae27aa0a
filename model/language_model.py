"""The language model of this room: a checkpoint, run by JAX, behind the `LanguageModel` seam."""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .checkpoint import Checkpoint
from .errors import EmptyPrompt, NumericalError, PromptTooLong, UnknownAdapter
from .once import Once
from .protocol import Delta, FinishReason, Generation, LanguageModel, Message, Sampling, Usage
from .text_stream import StopStrings, TextStream

if TYPE_CHECKING:
    from .runner import DecoderRunner, StepShape


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent on a generation's two parts."""

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Request:
    """One generation that is asked for: what from, how, until when, by which network, and where its time is noted."""

    prompt: list[int]
    sampling: Sampling
    cancel: threading.Event
    runner: Once[DecoderRunner]
    watch: Stopwatch


class _Network:
    """What is loaded of a checkpoint and its adapters, each part when first needed. Thread-safe."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        load_runner: Callable[[], DecoderRunner],
        adapters: Mapping[str, Callable[[], DecoderRunner]],
    ) -> None:
        self.tokenizer = Once(checkpoint.tokenizer)
        self.plain = Once(load_runner)
        self.adapted = {name: Once(load) for name, load in adapters.items()}

    def runner(self, adapter: str | None) -> Once[DecoderRunner]:
        """
        Raises:
            UnknownAdapter: there is none of that name.
        """
        if adapter is None:
            return self.plain
        if adapter not in self.adapted:
            raise UnknownAdapter(adapter, self.adapted)
        return self.adapted[adapter]


class JaxLanguageModel:
    """Implements `LanguageModel`. Several streams may run at once; each has caches of its own.

    ``load_runner`` does the heavy work (reading weights, starting JAX), once, at `warm_up` or the first generation;
    so does each of ``adapters`` for the network with that adapter, while others run.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        load_runner: Callable[[], DecoderRunner],
        *,
        adapters: Mapping[str, Callable[[], DecoderRunner]] | None = None,
        context_tokens: int | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._network = _Network(checkpoint, load_runner, adapters or {})
        own = checkpoint.config.context_tokens
        self._context_tokens = own if context_tokens is None else min(own, context_tokens)

    @property
    def name(self) -> str:
        return self._checkpoint.name

    @property
    def context_tokens(self) -> int:
        """Prompt and answer together; the settings can lower the checkpoint's own number, not raise it."""
        return self._context_tokens

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that a generation can be asked for with, loaded or not."""
        return tuple(self._network.adapted)

    def warm_up(self, instead_of: LanguageModel | None = None, *, adapters: Iterable[str] = ()) -> None:
        """Load the weights, and those of ``adapters``, and make the steps of a short generation ready.

        ``instead_of`` is a model in use whose place this one will take: the steps it has run are made ready too, so
        that no request has to wait for them.

        Raises:
            CheckpointError: the weights are damaged or incomplete.
            UnknownAdapter: there is no adapter of a name in ``adapters``.
            AdapterError: an adapter is missing, damaged or made for another model.
        """
        wanted = (None, *adapters)
        runners = [self._network.runner(adapter) for adapter in wanted]
        for adapter, runner in zip(wanted, runners, strict=True):
            for _ in self._stream(self._asked("a", Sampling(max_tokens=2), None, adapter)):
                pass
            if isinstance(instead_of, JaxLanguageModel):
                runner().make_ready(instead_of._shapes_run(adapter))

    def limited_to(self, context_tokens: int | None) -> JaxLanguageModel:
        """The same network, loaded once for both, with another limit of the context; see `context_tokens`."""
        twin = copy.copy(self)
        own = self._checkpoint.config.context_tokens
        twin._context_tokens = own if context_tokens is None else min(own, context_tokens)
        return twin

    def encode(self, text: str) -> list[int]:
        """Tokens of ``text`` alone, without a beginning marker."""
        return self._network.tokenizer().encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens`` without markers."""
        return self._network.tokenizer().decode(tokens)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of the checkpoint's chat template; markers spelled out in ``messages`` do not count as such.

        Raises:
            UnsupportedCheckpoint: the checkpoint has no template.
            ModelError: the template refuses these messages.
        """
        return self._network.tokenizer().render(messages)

    def stream(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
    ) -> Iterator[Delta]:
        """Generate, piece by piece; closing the iterator or setting ``cancel`` stops the device work.

        ``adapter`` names the one that this generation runs with, loaded if it is not yet; None: the plain network.

        Raises:
            EmptyPrompt: there is nothing to continue.
            PromptTooLong: the prompt leaves no room for one token; names both counts.
            UnknownAdapter: there is no adapter of that name; names those that are there.
            AdapterError: the adapter is missing, damaged or made for another model; with the first piece.
            NumericalError: the network's output is not finite.
        """
        return self._stream(self._asked(prompt, sampling, cancel, adapter))

    def generate(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
    ) -> Generation:
        """The whole of `stream` at once, with its timings."""
        asked = self._asked(prompt, sampling, cancel, adapter)
        watch = asked.watch
        deltas = list(self._stream(asked))
        last = deltas[-1]
        if last.finish_reason is None or last.usage is None:
            raise AssertionError("a stream ends with its reason and usage")
        text = "".join(delta.text for delta in deltas)
        return Generation(text, last.finish_reason, last.usage, watch.prefill_seconds, watch.decode_seconds)

    @property
    def runner(self) -> DecoderRunner:
        """The plain network, loaded."""
        return self._network.plain()

    def runner_with(self, adapter: str) -> DecoderRunner:
        """The network with that adapter, loaded.

        Raises:
            UnknownAdapter, AdapterError: as `stream`.
        """
        return self._network.runner(adapter)()

    def _shapes_run(self, adapter: str | None) -> frozenset[StepShape]:
        """What the network with that adapter has run, if there is one and it is loaded."""
        runner = self._network.plain if adapter is None else self._network.adapted.get(adapter)
        return runner().shapes if runner is not None and runner.made else frozenset()

    def _asked(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None,
        adapter: str | None,
    ) -> _Request:
        runner = self._network.runner(adapter)
        return _Request(self._prompt_tokens(prompt), sampling, cancel or threading.Event(), runner, Stopwatch())

    def _prompt_tokens(self, prompt: str | Sequence[Message]) -> list[int]:
        """A chat template writes the beginning marker itself; plain text gets it from the tokenizer."""
        if isinstance(prompt, str):
            tokens = self._network.tokenizer().encode_prompt(prompt)
        else:
            tokens = self._network.tokenizer().encode(self.render(prompt))
        if not tokens:
            raise EmptyPrompt
        if len(tokens) >= self.context_tokens:
            raise PromptTooLong(len(tokens), self.context_tokens)
        return tokens

    def _stream(self, asked: _Request) -> Iterator[Delta]:
        prompt_tokens, most = len(asked.prompt), self._most(asked)
        text, stops = TextStream(self.decode), StopStrings(asked.sampling.stop)
        end_tokens = self._network.tokenizer().end_tokens
        reason: FinishReason = "length"
        count = 0
        for token in self._tokens(asked):
            if token in end_tokens:
                reason = "stop"
                break
            count += 1
            piece = stops.add(text.add(token))
            if stops.found:
                reason = "stop"
                yield Delta(piece, reason, Usage(prompt_tokens, count))
                return
            if piece:
                yield Delta(piece)
        if reason != "stop" and count < most:
            reason = "cancelled"
        yield Delta(stops.rest(), reason, Usage(prompt_tokens, count))

    def _most(self, asked: _Request) -> int:
        return min(asked.sampling.max_tokens, self.context_tokens - len(asked.prompt))

    def _tokens(self, asked: _Request) -> Iterator[int]:
        """Generated tokens, at most `_most`; ends early when the request is cancelled."""
        from .runner import cache_slots, chunks_of
        from .sampling import Opening, choice_of

        runner, prompt, watch = asked.runner(), asked.prompt, asked.watch
        end = len(prompt) + self._most(asked)
        bias = asked.sampling.opening_bias
        opening = Opening(self.encode(bias[0])[0], len(prompt)) if bias else None
        choice = choice_of(asked.sampling, secrets.randbits(63), opening)
        began = time.perf_counter()
        progress = runner.begin(cache_slots(max(end, sum(chunk.size for chunk in chunks_of(len(prompt))))))
        for chunk in chunks_of(len(prompt)):
            if asked.cancel.is_set():
                return
            progress = runner.prefill(progress, prompt, chunk, choice)
            progress.token.block_until_ready()
        token = _finite(int(progress.token[0, 0]))
        watch.prefill_seconds = time.perf_counter() - began
        for position in range(len(prompt), end):
            if asked.cancel.is_set():
                return
            yield token
            if position + 1 == end:
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
