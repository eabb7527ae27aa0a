"""Examples per second of a LoRA update beside transformers with PEFT: same weights, batch, ranks and optimiser.

Each engine runs in a process of its own and waits while another one works; the engines take turns, so that what
else the machine does falls on all of them alike. Figures are medians. Run: python benchmarks/train.py [--json]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from turns import taking_turns

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LEARNING_RATE = 2e-4


@dataclass(frozen=True)
class Work:
    """One update: ``rows`` examples of ``length`` tokens, the last ``targets`` of which are to be predicted."""

    gguf: Path
    rows: int
    length: int
    targets: int
    rank: int
    threads: int
    remat: bool

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [rows, length], and those to predict [rows, targets]."""
        random = np.random.default_rng(0)
        tokens = random.integers(100, 20000, (self.rows, self.length + 1)).astype(np.int32)
        return tokens[:, :-1], tokens[:, -self.targets :]


class Capibara:
    """The update that `capibara.model.training.loop.train` makes."""

    def __init__(self, work: Work, compute: str) -> None:
        import jax

        from capibara.config.paths import cache_dir
        from capibara.model.device import prepare_device
        from capibara.model.gguf_checkpoint import GgufCheckpoint
        from capibara.model.training.decoder_objective import DecoderObjective, init_decoder
        from capibara.model.training.lora import LoraOptions
        from capibara.model.training.optimiser import learning_rate_schedule, make_optimiser
        from capibara.model.training.options import TrainingOptions
        from capibara.model.training.stacked_decoder import Run
        from capibara.model.training.update import CompiledUpdate, Placement, float32_masters, read_figures

        prepare_device(cache_dir(), work.threads)
        base, run = GgufCheckpoint(work.gguf), Run(compute=np.dtype(compute), remat=work.remat)
        lora = LoraOptions(work.rank, 2.0 * work.rank, PROJECTIONS)
        factors, frozen = init_decoder(base, lora, jax.random.key(0), run)
        options = TrainingOptions(learning_rate=LEARNING_RATE, schedule="constant")
        schedule, placement = learning_rate_schedule(options, 1000), Placement(None)
        objective = DecoderObjective(base.config, lora, run)
        self.update = CompiledUpdate(objective, make_optimiser(options, schedule), schedule, placement, seed=0)
        self.frozen, self.read = placement.weights(frozen), read_figures
        masters = float32_masters(factors)
        self.state, self.sums = self.update.first_state(masters), self.update.no_sums(masters)
        tokens, targets = work.batch()
        places = np.arange(work.length - work.targets, work.length, dtype=np.int32)
        self.batch = placement.batch(
            {
                "tokens_BT": tokens,
                "targets_BA": targets,
                "positions_BA": np.tile(places, (work.rows, 1)),
                "weights_BA": np.ones(targets.shape, np.float32),
            }
        )
        self.step = 0

    def __call__(self) -> float:
        self.sums = self.update.add(self.sums, self.state.trainable, np.int32(self.step), self.frozen, self.batch)
        self.state, self.sums, figures = self.update.apply(self.state, self.sums)
        self.step += 1
        return self.read(figures).loss


class Peft:
    """bfloat16 weights; the adapter in float32 under autocast, as PEFT makes it, or in bfloat16 throughout."""

    def __init__(self, work: Work, adapter: str) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        from capibara.model.gguf_checkpoint import GgufCheckpoint
        from capibara.model.training.decoder_files import config_json

        torch.set_num_threads(work.threads)
        torch.manual_seed(0)
        base = GgufCheckpoint(work.gguf)
        model = LlamaForCausalLM(LlamaConfig(**config_json(base.config))).to(torch.bfloat16)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(torch.tensor(base.tensor(name)))
        lora = LoraConfig(
            r=work.rank, lora_alpha=2 * work.rank, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, lora, autocast_adapter_dtype=adapter == "float32")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.torch, self.autocast = model.to(self.device).train(), torch, adapter == "float32"
        if work.remat:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.trained = trained
        self.optimiser = torch.optim.AdamW(trained, LEARNING_RATE, weight_decay=0.0)
        self.tokens, self.targets = (torch.from_numpy(part).long().to(self.device) for part in work.batch())

    def __call__(self) -> float:
        torch = self.torch
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            logits = self.model(input_ids=self.tokens, logits_to_keep=self.targets.shape[1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), self.targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss.item()


ENGINES: dict[str, Callable[[Work], Callable[[], float]]] = {
    "capibara": lambda work: Capibara(work, "bfloat16"),
    "capibara_f32": lambda work: Capibara(work, "float32"),
    "peft": lambda work: Peft(work, "float32"),
    "peft_bf16_adapter": lambda work: Peft(work, "bfloat16"),
}


def measure(names: list[str], work: Work, turns: int) -> dict[str, dict[str, float]]:
    """Median examples per second of each engine, the loss of its first update and that of its last."""
    with taking_turns({name: functools.partial(_timed, name, work) for name in names}) as engines:
        seen = [engines.take("update") for _ in range(turns + 1)]
    # The first turn compiles and warms up.
    return {
        name: {
            "examples_per_second": work.rows / statistics.median(turn[name][0] for turn in seen[1:]),
            "first_turn_seconds": seen[0][name][0],
            "first_loss": seen[0][name][1],
            "last_loss": seen[-1][name][1],
        }
        for name in names
    }


def _timed(name: str, work: Work) -> Callable[[str], tuple[float, float]]:
    """An engine that makes an update whenever it is told to, and tells how long it took and the loss."""
    update = ENGINES[name](work)

    def run(_: str) -> tuple[float, float]:
        began = time.perf_counter()
        loss = update()
        return time.perf_counter() - began, loss

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--model", default="default", help="GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512, help="tokens of an example")
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--remat", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=["capibara", "peft"], choices=list(ENGINES))
    options = parser.parse_args()
    from capibara.model.locate import locate

    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    work = Work(
        locate(options.model),
        options.rows,
        options.length,
        options.targets,
        options.rank,
        options.threads,
        options.remat,
    )
    results = measure(options.engines, work, options.turns)
    speeds = {name: found["examples_per_second"] for name, found in results.items()}
    ratios = {f"capibara_vs_{name}": speeds["capibara"] / s for name, s in speeds.items() if name.startswith("peft")}
    if options.json:
        print(json.dumps({"engines": results, "ratios": ratios, "load": os.getloadavg()}, indent=1))
        return
    print(f"{options.rows} examples of {options.length} tokens, rank {options.rank}, {options.threads} threads")
    for name, found in results.items():
        print(
            f"{name:18} {found['examples_per_second']:8.2f} examples/s   loss {found['first_loss']:.3f} to "
            f"{found['last_loss']:.3f}   first update {found['first_turn_seconds']:.0f} s"
        )
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} ×")


if __name__ == "__main__":
    main()
