"""The language model of this room: a checkpoint, run by JAX, behind the `LanguageModel` seam."""

from __future__ import annotations

import asyncio
import copy
import math
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from .checkpoint import Checkpoint
from .draft_model import DraftModel
from .engine.metrics import EngineMetrics
from .engine.options import EngineOptions
from .errors import EmptyPrompt, PromptTooLong, UnknownToken
from .in_order import finished, in_order
from .network import Network
from .once import Once
from .protocol import Delta, Generation, LanguageModel, Message, Sampling
from .request import Demands, Request
from .transcript import Transcript

if TYPE_CHECKING:
    from .compiled_steps import StepShape
    from .engine.job import End, Job
    from .engine.loop import Engine
    from .runner import DecoderRunner


class JaxLanguageModel:
    """Implements `LanguageModel`. Several streams may run at once; each has caches of its own.

    ``load_runner`` does the heavy work (reading weights, starting JAX), once, at `warm_up` or the first generation;
    so does each of ``adapters`` for the network with that adapter, while others run. ``draft`` drafts for all of them.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        load_runner: Callable[[], DecoderRunner],
        *,
        adapters: Mapping[str, Callable[[], DecoderRunner]] | None = None,
        draft: DraftModel | None = None,
        context_tokens: int | None = None,
        engine: EngineOptions | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._options = options = engine or EngineOptions()
        self._engine = Once(lambda: _new_engine(options))
        self._network = Network(checkpoint, load_runner, adapters or {}, draft)
        self._context_tokens = _within(checkpoint, context_tokens)

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
        """Load the weights, and those of ``adapters`` and what drafts, and make the steps of a short generation ready.

        ``instead_of`` is a model in use whose place this one will take: the steps it has run are made ready too, so
        that no request has to wait for them.

        Raises:
            CheckpointError: the weights are damaged or incomplete.
            UnknownAdapter: there is no adapter of a name in ``adapters``.
            AdapterError: an adapter is missing, damaged or made for another model.
            DraftMismatch: what is to draft has other tokens.
            Overloaded, EngineStopped, GenerationFailed: as `stream`.
        """
        wanted = (None, *adapters)
        runners = [self._network.runner(adapter) for adapter in wanted]
        for adapter, runner in zip(wanted, runners, strict=True):
            asked = self._asked("a", Sampling(max_tokens=2), None, adapter, {})
            finished(asked, asked.begin(self._submit))
            shapes = instead_of._network.shapes_run(adapter) if isinstance(instead_of, JaxLanguageModel) else ()
            runner().make_ready([*shapes, *self._drafting_shapes()])
        self._network.make_draft_ready()

    def limited_to(self, context_tokens: int | None, engine: EngineOptions | None = None) -> JaxLanguageModel:
        """The same network, loaded once for both, with another limit of the context (see `context_tokens`), and with
        an engine of its own where ``engine`` is given."""
        twin = copy.copy(self)
        twin._context_tokens = _within(self._checkpoint, context_tokens)
        if engine is not None and engine != self._options:
            twin._options, twin._engine = engine, Once(lambda: _new_engine(engine))
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
        **demands: Unpack[Demands],
    ) -> Iterator[Delta]:
        """Generate, piece by piece; closing the iterator or setting ``cancel`` stops the device work.

        ``adapter`` names the one that this generation runs with, loaded if it is not yet; None: the plain network.
        Generations that are asked for at once run together. For ``demands`` see `Demands`.

        Raises:
            EmptyPrompt: there is nothing to continue.
            PromptTooLong: the prompt leaves no room for one token; names both counts.
            UnknownToken: the tokenizer makes a token of it that the network does not have.
            UnknownAdapter: there is no adapter of that name; names those that are there.
            AdapterError: the adapter is missing, damaged or made for another model; with the first piece.
            NumericalError: the network's output is not finite.
            GenerationFailed: it could not be run to its end; says why.
            Overloaded: too many generations wait already.
            EngineStopped: the program is ending.
            DeadlineExceeded: it was not done within ``deadline_seconds``.
            ConstraintError: ``constraint`` or ``thinking`` cannot be kept to with this model; says why.
        """
        return self._stream(self._asked(prompt, sampling, cancel, adapter, demands))

    def generate(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
        **demands: Unpack[Demands],
    ) -> Generation:
        """The whole of `stream` at once, with its timings."""
        asked = self._asked(prompt, sampling, cancel, adapter, demands)
        return finished(asked, asked.begin(self._submit))

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[Message]],
        sampling: Sampling,
        cancel: threading.Event | None = None,
        adapter: str | None = None,
    ) -> Iterator[Generation]:
        """A generation for each prompt, in their order, as soon as it and those before it are done.

        Any number of prompts is taken: no more are under way than run together and as many again.

        Raises:
            Overloaded: too many generations of others wait for even one of these to be taken.
            EmptyPrompt, PromptTooLong, UnknownToken, UnknownAdapter, AdapterError, NumericalError, GenerationFailed,
                EngineStopped: as `stream`.
        """
        requests = [self._asked(prompt, sampling, cancel, adapter, {}) for prompt in prompts]
        yield from in_order(requests, self._submit, 2 * self._options.sequences)

    async def stream_async(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        adapter: str | None = None,
        **demands: Unpack[Demands],
    ) -> AsyncIterator[Delta]:
        """As `stream`, for a program of coroutines: cancelling the task stops the device work."""
        asked = await asyncio.to_thread(self._asked, prompt, sampling, None, adapter, demands)
        async for delta in asked.pieces_async(self._submit):
            yield delta

    async def generate_async(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        adapter: str | None = None,
        **demands: Unpack[Demands],
    ) -> Generation:
        """As `generate`, for a program of coroutines."""
        asked = await asyncio.to_thread(self._asked, prompt, sampling, None, adapter, demands)
        async for _ in asked.pieces_async(self._submit):
            pass
        return asked.transcript.generation()

    @property
    def metrics(self) -> EngineMetrics:
        """What the engine of this model has done and does now."""
        return self._engine().metrics if self._engine.made else EngineMetrics()

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

    def _drafting_shapes(self) -> list[StepShape]:
        """Drafts come up in the midst of an answer, which nobody wants to wait in for a compiler."""
        from .chunks import SMALLEST_CACHE
        from .compiled_steps import VERIFIED_ROWS, StepShape

        return [StepShape(VERIFIED_ROWS, SMALLEST_CACHE)] if self._options.speculate else []

    def _asked(
        self,
        prompt: str | Sequence[Message],
        sampling: Sampling,
        cancel: threading.Event | None,
        adapter: str | None,
        demands: Demands,
    ) -> Request:
        tokens, seconds = self._prompt_tokens(prompt), demands.get("deadline_seconds")
        if seconds is not None and math.isnan(seconds):
            raise ValueError("deadline_seconds is not a number")
        constraint, thinking = demands.get("constraint"), demands.get("thinking")
        return Request(
            tokens,
            sampling,
            cancel or threading.Event(),
            self._network.runner(adapter),
            None if seconds is None else time.monotonic() + seconds,
            Transcript(self.decode, sampling.stop, len(tokens)),
            None if constraint is None and thinking is None else self._network.rules().rule(constraint, thinking),
            self._network.draft if self._options.speculate else None,
        )

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
        if (largest := max(tokens)) >= (outputs := self._checkpoint.config.vocabulary):
            text = self._network.tokenizer().decode([largest])
            raise UnknownToken(self.name, largest, text, outputs)
        return tokens

    def _job(self, asked: Request, deliver: Callable[[int | End], object]) -> Job:
        from .engine.job import Job
        from .sampling import Opening

        prompt, bias, runner = asked.prompt, asked.sampling.opening_bias, asked.runner()
        opening = Opening(self.encode(bias[0])[0], len(prompt)) if bias else None
        return Job(
            prompt,
            min(asked.sampling.max_tokens, self.context_tokens - len(prompt)),
            self._network.tokenizer().end_tokens,
            runner,
            runner.choice(asked.sampling, secrets.randbits(63), opening),
            deliver,
            asked.deadline,
            asked.rule,
            given_up=asked.given_up,
            draft=None if asked.draft is None else asked.draft(),
        )

    def _stream(self, asked: Request) -> Iterator[Delta]:
        """Takes the job up when the first piece is asked for."""
        yield from asked.begin(self._submit)

    def _submit(self, asked: Request, deliver: Callable[[int | End], object]) -> None:
        self._engine().submit(self._job(asked, deliver))


def _new_engine(options: EngineOptions) -> Engine:
    from .engine.loop import Engine

    return Engine(options)


def _within(checkpoint: Checkpoint, context_tokens: int | None) -> int:
    own = checkpoint.config.context_tokens
    return own if context_tokens is None else min(own, context_tokens)
