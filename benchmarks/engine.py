"""The engine of the language model: what repeated beginnings save, what 8 bits cost, and how it holds out.

python benchmarks/engine.py second --data ../shared/data/squad/dev       # seconds to the first token
python benchmarks/engine.py perplexity --data ../shared/data/squad/dev   # int8 beside float32
python benchmarks/engine.py soak --requests 500                          # mixed requests, memory, compilations
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from capibara.config.schema import ModelSettings
from capibara.model import DeadlineExceeded, ModelError, Overloaded, Sampling, open_model
from capibara.model.chunks import SMALLEST_CACHE
from capibara.model.compiled_steps import VERIFIED_ROWS, StepShape
from capibara.model.engine import schedule
from capibara.model.language_model import JaxLanguageModel
from capibara.model.memory_gauge import return_freed

TOLD = "Answer the question from the passages."


def opened(compute: str = "auto") -> JaxLanguageModel:
    model = open_model(ModelSettings(compute=compute))  # pyright: ignore[reportArgumentType]
    if not isinstance(model, JaxLanguageModel):
        raise TypeError("the default model is run by JAX")
    model.warm_up()
    return model


def second(given: argparse.Namespace) -> dict[str, Any]:
    """Two questions over the same three passages, one after the other: seconds to the first token of each."""
    from capibara.assistant.dataset import read_passages, read_questions

    passages = {passage.id: passage.text for passage in read_passages(given.data)}
    by_passage: dict[str, list[str]] = {}
    for question in read_questions(given.data):
        by_passage.setdefault(question.passage_id, []).append(question.question)
    draw, model = random.Random(given.seed), opened()
    pairs = [(one, asked) for one, asked in by_passage.items() if len(asked) > 1]
    first_seconds, second_seconds = [], []
    for own, asked in draw.sample(pairs, given.sample + 2):
        texts = [passages[own], *(passages[other] for other in draw.sample(sorted(passages), 2))]
        numbered = "\n\n".join(f"[{place}] {text}" for place, text in enumerate(texts, start=1))
        for question, seconds in zip(asked, (first_seconds, second_seconds), strict=False):
            began = time.perf_counter()
            stream = model.stream(
                [{"role": "system", "content": TOLD}, {"role": "user", "content": f"{numbered}\n\n{question}"}],
                Sampling(max_tokens=16),
            )
            next(stream)
            seconds.append(time.perf_counter() - began)
            stream.close()
    # The first two compile and warm up.
    ratios = [after / before for before, after in zip(first_seconds[2:], second_seconds[2:], strict=True)]
    return {
        "pairs": len(ratios),
        "first_seconds": round(statistics.median(first_seconds[2:]), 4),
        "second_seconds": round(statistics.median(second_seconds[2:]), 4),
        "second_over_first": round(statistics.median(ratios), 3),
    }


def perplexity(given: argparse.Namespace) -> dict[str, Any]:
    """Of passages, by the mean log-likelihood of their tokens after the first."""
    from capibara.assistant.dataset import read_passages

    texts = [passage.text for passage in random.Random(given.seed).sample(read_passages(given.data), given.sample)]
    found: dict[str, float] = {}
    for compute in ("float32", "int8"):
        model, losses = opened(compute), []
        for text in texts:
            tokens = model.encode(text)[:512]
            logits_TV = model.runner.score(tokens[:-1]).astype(np.float64)
            logits_TV -= logits_TV.max(axis=1, keepdims=True)
            losses.append(np.log(np.exp(logits_TV).sum(axis=1)) - logits_TV[np.arange(len(tokens) - 1), tokens[1:]])
        found[compute] = math.exp(np.concatenate(losses).mean())
    change = found["int8"] / found["float32"] - 1
    return {
        "passages": len(texts),
        **{name: round(value, 3) for name, value in found.items()},
        "change": round(change, 4),
    }


def soak(given: argparse.Namespace) -> dict[str, Any]:
    """Requests of many lengths, some cancelled, late or bad, ``--threads`` at a time: none lost, nothing leaked.

    To warm up, all shapes are compiled, some of which would come late, and as many requests run. Memory is what the
    process has at rest, ten times in each half.
    """
    import psutil

    model, draw, told = opened(), random.Random(given.seed), Counter[str]()
    began, process = time.perf_counter(), psutil.Process()
    memory: list[float] = []
    steps: list[int] = []
    model.runner.make_ready(_shapes(model.context_tokens), model.context_tokens)
    for part in range(20):
        outcomes = _mixed(model, draw, given.requests // 10, given.threads)
        told += outcomes if part >= 10 else Counter()
        while model.metrics.running:
            time.sleep(0.01)
        gc.collect()
        return_freed()
        memory.append(round(process.memory_info().rss / 2**20, 1))
        steps.append(model.runner.compiled_steps())
        print(f"part {part + 1} of 20: {memory[-1]} MiB", file=sys.stderr, flush=True)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "outcomes": dict(sorted(told.items())),
        "lost": given.requests // 10 * 10 - sum(told.values()),
        "still_running": model.metrics.running + model.metrics.waiting,
        "memory_mib": memory,
        "growth_after_warm_up": round(memory[-1] / memory[9] - 1, 4),
        "compiled_steps": steps,
        "occupancy": round(model.metrics.occupancy, 2),
    }


def _shapes(context: int) -> Iterator[StepShape]:
    """All steps of the engine, for all sizes of cache."""
    slots = SMALLEST_CACHE
    while slots <= context:
        yield from (StepShape(1, slots, count) for count in schedule.BATCHES)
        yield from (StepShape(schedule.SHARED_PIECE, slots, count) for count in schedule.PROMPTS)
        yield from (StepShape(tokens, slots) for tokens in (32, 128, 256, VERIFIED_ROWS))
        slots *= 2


def _mixed(model: JaxLanguageModel, draw: random.Random, requests: int, threads: int) -> Counter[str]:
    """What became of so many requests of each kind."""
    told, lock, work = Counter[str](), threading.Lock(), iter(range(requests))

    def run() -> None:
        while True:
            with lock:
                if next(work, None) is None:
                    return
                kind = draw.choice(["short", "short", "long", "sampled", "cancelled", "late", "empty", "too long"])
                words = draw.choices(["north", "ferry", "fog", "captain", "mile", "seven"], k=draw.randrange(4, 300))
            outcome = _one(model, kind, " ".join(words))
            with lock:
                told[f"{kind}: {outcome}"] += 1

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return told


def _one(model: JaxLanguageModel, kind: str, text: str) -> str:
    cancel = threading.Event()
    try:
        if kind == "cancelled":
            stream = model.stream(text, Sampling(max_tokens=100), cancel)
            next(stream)
            cancel.set()
            return str([delta.finish_reason for delta in stream][-1:])
        if kind == "late":
            model.generate(text, Sampling(max_tokens=400), deadline_seconds=0.2)
            return "in time"
        prompt = {"empty": "", "too long": text * 200}.get(kind, text)
        hot = 1.0 if kind == "sampled" else 0.0
        made = model.generate(prompt, Sampling(max_tokens=60 if kind == "long" else 12, temperature=hot))
        return made.finish_reason
    except (DeadlineExceeded, Overloaded, ModelError) as error:
        return type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("second", "perplexity", "soak"))
    parser.add_argument("--data", type=Path, help="folder of passages and questions")
    parser.add_argument("--sample", type=int, default=50, help="pairs of questions, or passages")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--threads", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what != "soak" and given.data is None:
        parser.error(f"{given.what} needs --data")
    print(json.dumps({"second": second, "perplexity": perplexity, "soak": soak}[given.what](given), indent=1))


if __name__ == "__main__":
    main()
