"""The engines that `decode.py` measures: what each does for an order, and the seconds that takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from capibara.model.engine.loop import Engine


@dataclass(frozen=True)
class Steps:
    """Run a prompt, then ``count`` greedy steps: seconds of the two parts."""

    tokens: Sequence[int]
    count: int


@dataclass(frozen=True)
class Answer:
    """Generate greedily until an end token, at most ``most``: tokens generated, and seconds."""

    tokens: Sequence[int]
    most: int
    ends: frozenset[int]


@dataclass(frozen=True)
class Batch:
    """Generate ``count`` tokens for each prompt, all at once: seconds."""

    prompts: Sequence[Sequence[int]]
    count: int


class Capibara:
    """Plain steps on the runner; answers and batches through the engine. `compute` as in the settings."""

    def __init__(self, gguf: Path, threads: int, context: int, compute: str = "auto") -> None:
        from capibara.config.schema import ModelSettings
        from capibara.model import Sampling, open_model
        from capibara.model.chunks import cache_slots
        from capibara.model.engine.loop import Engine
        from capibara.model.engine.options import EngineOptions
        from capibara.model.sampling import choice_of

        self.runner = open_model(ModelSettings(path=str(gguf), threads=threads, compute=compute)).runner  # pyright: ignore
        self.slots, self.choice, self.engine = cache_slots(context), choice_of(Sampling(), 0), Engine()
        self.plain = Engine(EngineOptions(prefix_bytes=0, speculate=False))

    def __call__(self, order: Steps | Answer | Batch) -> Any:
        if isinstance(order, Steps):
            return self.steps(list(order.tokens), order.count)
        began = time.perf_counter()
        if isinstance(order, Batch):
            self.generate(order.prompts, order.count, frozenset(), self.plain)
            return time.perf_counter() - began
        made = self.generate([order.tokens], order.most, order.ends, self.engine)
        return made, time.perf_counter() - began

    def steps(self, tokens: list[int], count: int) -> tuple[float, float]:
        from capibara.model.chunks import chunks_of

        began = time.perf_counter()
        progress, token = self.runner.begin(self.slots), None
        for chunk in chunks_of(len(tokens), self.slots):
            progress, token = self.runner.prefill(progress, tokens, chunk, self.choice)
        int(token)
        middle = time.perf_counter()
        for position in range(len(tokens), len(tokens) + count):
            (progress,), tokens_B = self.runner.advance([progress], [position], [self.choice])
            np.asarray(tokens_B)  # what the engine does; indexing would run another program
        return middle - began, time.perf_counter() - middle

    def generate(self, prompts: Sequence[Sequence[int]], most: int, ends: frozenset[int], engine: Engine) -> int:
        """Tokens of all generations together."""
        from queue import SimpleQueue

        from capibara.model.engine.job import End, Job

        told: SimpleQueue[int | End] = SimpleQueue()
        for prompt in prompts:
            engine.submit(Job(prompt, most, ends, self.runner, self.choice, told.put))
        made = ended = 0
        while ended < len(prompts):
            if isinstance(event := told.get(), End):
                if event.error is not None:
                    raise event.error
                ended += 1
            else:
                made += 1
        return made


class LlamaCpp:
    """llama-cpp-python, greedy. It keeps what a prompt has in common with the one before."""

    def __init__(self, gguf: Path, threads: int, context: int) -> None:
        from llama_cpp import Llama, llama_cpp

        if "amx_int8" in Path("/proc/cpuinfo").read_text("utf-8"):
            # Its products over weights that it has laid out anew for AMX tiles end the process (0.3.36, Q4_1).
            defaults = llama_cpp.llama_model_default_params()
            defaults.use_extra_bufts = False
            llama_cpp.llama_model_default_params = lambda: defaults
        self.model = Llama(
            str(gguf), n_ctx=context, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def __call__(self, order: Steps | Answer) -> Any:
        began = time.perf_counter()
        if isinstance(order, Answer):
            made = 0
            for token in self.model.generate(list(order.tokens), temp=0.0):
                if token in order.ends:
                    break
                made += 1
                if made == order.most:
                    break
            return made, time.perf_counter() - began
        self.model.reset()
        self.model.eval(list(order.tokens))
        middle = time.perf_counter()
        for _ in range(order.count):
            self.model.eval([self.model.sample(temp=0.0)])
        return middle - began, time.perf_counter() - middle


class Transformers:
    """transformers' Llama with the dequantised weights of the GGUF file."""

    def __init__(self, gguf: Path, threads: int, context: int, dtype: str) -> None:  # noqa: ARG002 -- all are made alike
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from capibara.model.gguf_checkpoint import GgufCheckpoint
        from capibara.model.training.decoder_files import config_json

        torch.set_num_threads(threads)
        self.torch, checkpoint = torch, GgufCheckpoint(gguf)
        self.model = LlamaForCausalLM(LlamaConfig(**config_json(checkpoint.config))).to(getattr(torch, dtype)).eval()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(torch.tensor(checkpoint.tensor(name)))

    def __call__(self, order: Steps) -> tuple[float, float]:
        began = time.perf_counter()
        self.past = None
        self._run(self.torch.tensor([list(order.tokens)]))
        middle = time.perf_counter()
        for _ in range(order.count):
            self._run(self.token)
        return middle - began, time.perf_counter() - middle

    def _run(self, tokens: Any) -> None:
        with self.torch.inference_mode():
            out = self.model(tokens, past_key_values=self.past, use_cache=True, logits_to_keep=1)
        self.past, self.token = out.past_key_values, out.logits[:, -1:].argmax(-1)


ENGINES: dict[str, Callable[..., Any]] = {
    "capibara": Capibara,
    "capibara_f32": functools.partial(Capibara, compute="float32"),
    "llama_cpp": LlamaCpp,
    "transformers_f32": functools.partial(Transformers, dtype="float32"),
    "transformers_bf16": functools.partial(Transformers, dtype="bfloat16"),
}
