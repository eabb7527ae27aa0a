"""Tokens per second of a Llama of a billion random weights beside transformers, and beside what the memory allows.

The weights and the kind of device are the same, bfloat16 on a GPU and float32 on a CPU. Figures are medians over turns.
A decode step's floor is the time to read as many bytes as the weights have. Run: python benchmarks/random_model.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from dataclasses import replace
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from decode_engines import Steps
from turns import taking_turns

from capibara.config.paths import cache_dir
from capibara.config.schema import ModelSettings
from capibara.model import Sampling
from capibara.model.architecture import DecoderConfig
from capibara.model.chunks import cache_slots, chunks_of
from capibara.model.device import devices_of, prepare_device
from capibara.model.matrices import matrices, vectors
from capibara.model.rotary import rope_frequencies
from capibara.model.runner_loading import Networks
from capibara.model.training.written_config import config_json


def shape(layers: int, width: int) -> DecoderConfig:
    """Of Llama-3.2-1B, or of a smaller one with a fourth as many key heads and a feed-forward four times as wide."""
    heads, rotary = width // 64, rope_frequencies(500000.0, 64)
    return DecoderConfig(128256, width, layers, heads, heads // 4, 64, 4 * width, 131072, 1e-5, rotary, tied_head=True)


def tensor(config: DecoderConfig, name: str) -> np.ndarray:
    """The same whenever it is asked for. Layers outweigh the embedding, else a tied head would repeat one token."""
    sizes: dict[str, Any] = {part: size for one in vectors(config) for part, size in one.parts.items()}
    for one in matrices(config):
        sizes |= {f"{part}.weight": (rows, one.columns) for part, rows in one.parts.items()}
    draw, size = np.random.default_rng(zlib.crc32(name.encode())), sizes[name]
    if isinstance(size, int):
        return draw.random(size, np.float32) + 0.5
    return (draw.random(size, np.float32) - 0.5) * (12 / size[1]) ** 0.5  # NumPy works in the one array


class Capibara:
    """Plain steps on the runner. Also tells what runs where, and how long the device takes to read the weights."""

    def __init__(self, config: DecoderConfig, device: str, threads: int) -> None:
        prepare_device(cache_dir(), threads)
        self.device = devices_of(device)[0]
        self.dtype = "float32" if self.device.platform == "cpu" else "bfloat16"
        settings = ModelSettings(device=device, threads=threads, compute=self.dtype)  # pyright: ignore[reportArgumentType]
        checkpoint: Any = SimpleNamespace(name="random", config=config, tensor=partial(tensor, config))
        self.runner = Networks(checkpoint, settings, cache_dir()).plain()

    def __call__(self, order: Steps | str) -> Any:
        """Seconds of the prompt, seconds of the steps after it, and the tokens that were chosen."""
        if isinstance(order, str):
            parameters, size = (sum(getattr(one, of) for one in self.runner.weights) for of in ("size", "nbytes"))
            read = seconds_to_read(size, self.device)
            return self.device.platform, self.device.device_kind, self.dtype, parameters, size, read
        tokens, end = list(order.tokens), len(order.tokens) + order.count
        slots, choice = cache_slots(end + 1), self.runner.choice(Sampling(), 0)
        began = time.perf_counter()
        progress, token = self.runner.begin(slots), np.int32(0)
        for chunk in chunks_of(len(tokens), slots):
            progress, token = self.runner.prefill(progress, tokens, chunk, choice)
        chosen, middle = [int(token)], time.perf_counter()
        for position in range(len(tokens), end):
            (progress,), tokens_B = self.runner.advance([progress], [position], [choice])
            chosen.append(int(np.asarray(tokens_B)[0]))
        return middle - began, time.perf_counter() - middle, chosen


def seconds_to_read(size: int, device: Any) -> float:
    """Of ``size`` bytes in the device's memory, added up or multiplied by a vector, whichever is faster there."""
    words_RC, ones_C = jnp.ones((-(-size // 2**14), 2**12), device=device), jnp.ones(2**12, device=device)
    total, seconds = jax.jit(jnp.sum, static_argnums=1), []
    for way, other in 3 * [(total, None), (total, 1), (jax.jit(jnp.dot), ones_C)]:  # the first round is to warm up
        began = time.perf_counter()
        jax.block_until_ready([way(words_RC, other) for _ in range(4)])
        seconds.append((time.perf_counter() - began) / 4)
    return min(seconds) * size / words_RC.nbytes


class Transformers:
    """transformers' Llama with the same weights; each token is read before the next step, as ours are."""

    def __init__(self, config: DecoderConfig, device: str, dtype: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, LlamaConfig

        torch.set_num_threads(threads)
        self.torch, self.device, described = torch, device, LlamaConfig(**config_json(config))
        with torch.device(device), torch.no_grad():
            self.model: Any = AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype)).eval()
            for name, weight in self.model.named_parameters():
                weight.copy_(torch.from_numpy(tensor(config, name)))

    def __call__(self, order: Steps) -> tuple[float, float, list[int]]:
        self.past, began = None, time.perf_counter()
        chosen, middle = [self._next(list(order.tokens))], time.perf_counter()
        for _ in range(order.count):
            chosen.append(self._next(chosen[-1:]))
        return middle - began, time.perf_counter() - middle, chosen

    def _next(self, tokens: list[int]) -> int:
        with self.torch.inference_mode():
            given = self.torch.tensor([tokens], device=self.device)
            out = self.model(given, past_key_values=self.past, use_cache=True, logits_to_keep=1)
        self.past = out.past_key_values
        return int(out.logits[0, -1].argmax())


def check(ran: dict[str, tuple[float, float, list[int]]]) -> None:
    """Refuse to compare engines that choose different tokens in float32."""
    chosen = {name: tokens[:9] for name, (_, _, tokens) in ran.items()}
    if any(tokens != chosen["capibara"] for tokens in chosen.values()):
        raise SystemExit(f"not compared: in float32 the engines choose different tokens: {chosen}")


def measure(config: DecoderConfig, options: argparse.Namespace) -> dict[str, Any]:
    from torch.cuda import is_available

    threads, small = options.threads, replace(config, layers=min(2, config.layers), layer_kinds=())
    order = Steps(np.random.default_rng(0).integers(0, config.vocabulary, options.length).tolist(), options.steps)
    one, other = partial(Capibara, small, "cpu", threads), partial(Transformers, small, "cpu", "float32", threads)
    with taking_turns({"capibara": one, "transformers": other}) as pair:
        check(pair.take(Steps(order.tokens[:64], 8)))
    with taking_turns({"capibara": partial(Capibara, config, options.device, threads)}) as ours:
        platform, device, dtype, parameters, size, _ = ours.take("facts")["capibara"]
        on = {"cpu": "cpu", "gpu": "cuda" if is_available() else None}.get(platform)
        makers = {"transformers": partial(Transformers, config, on, dtype, threads)} if on else {}
        with taking_turns(makers) as theirs:
            turns = [(ours.take(order) | theirs.take(order), ours.take("facts")) for _ in range(options.turns + 1)][1:]
    if dtype == "float32":
        check(turns[0][0])
    floor, speeds = median(facts["capibara"][-1] for _, facts in turns), {}
    for name in ("capibara", *makers):
        prefill, decode = (median(ran[name][part] for ran, _ in turns) for part in (0, 1))
        speeds[name] = {"decode": round(options.steps / decode, 2), "prefill": round(options.length / prefill, 1)}
    own, rate = speeds["capibara"], round(size / floor / 1e9, 2)
    ratios = {f"{part}_vs_{name}": round(own[part] / speeds[name][part], 3) for name in makers for part in own}
    report: dict[str, Any] = {"device": device, "parameters": parameters, "dtype": dtype, "tokens_per_second": speeds}
    report["floor"] = {"bytes": size, "gigabytes_per_second": rate, "floor_decode_seconds": round(floor, 6)}
    report["ratios"] = {**ratios, "decode_step_over_floor": round(1 / own["decode"] / floor, 3)}
    return report if on else report | {"left_out": f"transformers: torch finds no {platform} here"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu", "tpu"], help="as model.device")
    for name, usual in ("layers", 16), ("width", 2048), ("length", 1500), ("steps", 32), ("turns", 5), ("threads", 2):
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"default: {usual}")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else JAX would leave torch a quarter of the GPU
    report = measure(shape(options.layers, options.width), options)
    if options.json:
        print(json.dumps(report, indent=1))
        return
    print(report["device"], report["dtype"], f"{report['parameters']:,} weights, tokens/s", report.get("left_out", ""))
    for name, row in {**report["tokens_per_second"], "floor": report["floor"], "ratios": report["ratios"]}.items():
        print(f"{name:14}" + "   ".join(f"{of} {value:,}" for of, value in row.items()))


if __name__ == "__main__":
    main()
