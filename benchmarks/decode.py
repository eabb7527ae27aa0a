"""Tokens per second of capibara.model beside llama-cpp-python and transformers: same GGUF, prompt and threads.

Each engine runs in a process of its own and waits while another one works; the engines take turns, so that what
else the machine does falls on all of them alike. Figures are medians. Run: python benchmarks/decode.py [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

TEXT = "the ferry carried two hundred passengers north while fog made its captain think twice about every mile"


class Capibara:
    """Prefill in chunks, then greedy cached steps; `compute` as in the settings."""

    def __init__(self, gguf: Path, threads: int, context: int, compute: str) -> None:
        from capibara.config.schema import ModelSettings
        from capibara.model import Sampling, open_model
        from capibara.model.chunks import cache_slots
        from capibara.model.sampling import choice_of

        self.runner = open_model(ModelSettings(path=str(gguf), threads=threads, compute=compute)).runner
        self.slots, self.choice = cache_slots(context), choice_of(Sampling(), 0)

    def prefill(self, tokens: list[int]) -> None:
        from capibara.model.chunks import chunks_of

        self.position, self.progress = len(tokens), self.runner.begin(self.slots)
        for chunk in chunks_of(len(tokens)):
            self.progress, token = self.runner.prefill(self.progress, tokens, chunk, self.choice)
        int(token)

    def step(self) -> None:
        (self.progress,), tokens_B = self.runner.advance([self.progress], [self.position], [self.choice])
        self.position += 1
        int(tokens_B[0])


class LlamaCpp:
    """llama-cpp-python, greedy."""

    def __init__(self, gguf: Path, threads: int, context: int) -> None:
        from llama_cpp import Llama

        self.model = Llama(
            str(gguf), n_ctx=context, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def prefill(self, tokens: list[int]) -> None:
        self.model.reset()
        self.model.eval(tokens)

    def step(self) -> None:
        self.model.eval([self.model.sample(temp=0.0)])


class Transformers:
    """transformers' Llama with the dequantised weights of the GGUF file."""

    def __init__(self, gguf: Path, threads: int, dtype: str) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from capibara.model.gguf_checkpoint import GgufCheckpoint

        torch.set_num_threads(threads)
        self.torch, checkpoint = torch, GgufCheckpoint(gguf)
        ours = checkpoint.config
        config = LlamaConfig(
            vocab_size=ours.vocabulary,
            hidden_size=ours.width,
            intermediate_size=ours.hidden_width,
            num_hidden_layers=ours.layers,
            num_attention_heads=ours.heads,
            num_key_value_heads=ours.kv_heads,
            head_dim=ours.head_width,
            max_position_embeddings=ours.context_tokens,
            tie_word_embeddings=ours.tied_head,
        )
        self.model = LlamaForCausalLM(config).to(getattr(torch, dtype)).eval()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(torch.tensor(checkpoint.tensor(name)))

    def prefill(self, tokens: list[int]) -> None:
        self.past = None
        self._run(self.torch.tensor([tokens]))

    def step(self) -> None:
        self._run(self.token)

    def _run(self, tokens) -> None:
        with self.torch.inference_mode():
            out = self.model(tokens, past_key_values=self.past, use_cache=True, logits_to_keep=1)
        self.past, self.token = out.past_key_values, out.logits[:, -1:].argmax(-1)


ENGINES: dict[str, Callable] = {
    "capibara": lambda *a: Capibara(*a, compute="auto"),
    "capibara_f32": lambda *a: Capibara(*a, compute="float32"),
    "llama_cpp": LlamaCpp,
    "transformers_f32": lambda gguf, threads, _: Transformers(gguf, threads, dtype="float32"),
    "transformers_bf16": lambda gguf, threads, _: Transformers(gguf, threads, dtype="bfloat16"),
}


def serve(name: str, gguf: Path, threads: int, context: int, wire: Connection) -> None:
    """One engine's process: measures a prompt whenever it is told to."""
    engine = ENGINES[name](gguf, threads, context)
    gc.disable()
    wire.send("ready")
    while (order := wire.recv()) is not None:
        tokens, steps = order
        began = time.perf_counter()
        engine.prefill(tokens)
        middle = time.perf_counter()
        for _ in range(steps):
            engine.step()
        wire.send((len(tokens) / (middle - began), steps / (time.perf_counter() - middle)))


def prompt(gguf: Path, length: int) -> list[int]:
    from capibara.model.gguf_checkpoint import GgufCheckpoint

    words = TEXT.split()
    tokens = GgufCheckpoint(gguf).tokenizer().encode(" ".join(words[i * i % len(words)] for i in range(3 * length)))
    return tokens[:length]


def measure(names: list[str], gguf: Path, length: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median prefill and decode tokens/s of each engine at one length of prompt."""
    spawn = multiprocessing.get_context("spawn")
    wires, processes, tokens = {}, [], prompt(gguf, length)
    for name in names:
        wires[name], theirs = spawn.Pipe()
        arguments = (name, gguf, options.threads, length + options.steps + 1, theirs)
        processes.append(spawn.Process(target=serve, args=arguments, daemon=True))
        processes[-1].start()
        wires[name].recv()
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(options.turns + 1):
        for name in names:
            wires[name].send((tokens, options.steps))
            speed = wires[name].recv()
            if turn:  # the first turn compiles and warms up
                speeds[name].append(speed)
    for wire, process in zip(wires.values(), processes, strict=True):
        wire.send(None)
        process.join()
    return {
        name: {"prefill": statistics.median(s[0] for s in found), "decode": statistics.median(s[1] for s in found)}
        for name, found in speeds.items()
    }


def ratios(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Our speed over each other's, the least over all lengths, and at each length."""
    found: dict[str, float] = {}
    for part in ("decode", "prefill"):
        for other in ("llama_cpp", "transformers_f32", "transformers_bf16"):
            each = {
                length: speeds["capibara"][part] / speeds[other][part]
                for length, speeds in results.items()
                if other in speeds
            }
            if each:
                found[f"{part}_vs_{other}"] = round(min(each.values()), 3)
                found |= {f"{part}_vs_{other}_at_{length}": round(ratio, 3) for length, ratio in each.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--model", default="default", help="GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1500], help="tokens of prompt")
    parser.add_argument("--steps", type=int, default=32, help="decode steps per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    options = parser.parse_args()
    from capibara.model.locate import locate

    gguf = locate(options.model)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    results = {str(length): measure(options.engines, gguf, length, options) for length in options.lengths}
    if options.json:
        print(
            json.dumps({"threads": options.threads, "tokens_per_second": results, "ratios": ratios(results)}, indent=1)
        )
        return
    for length, speeds in results.items():
        print(f"\n{length} tokens of context{'':12}prefill tokens/s   decode tokens/s")
        for name, speed in speeds.items():
            print(f"  {name:30}{speed['prefill']:16.1f}{speed['decode']:18.1f}")
    print("\ncapibara over" + "".join(f"\n  {name:34}{ratio:8.2f}" for name, ratio in ratios(results).items()))


if __name__ == "__main__":
    main()
