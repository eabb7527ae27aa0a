"""Tokens per second of capibara.model beside llama-cpp-python and transformers: same GGUF, prompts and threads.

Plain prefill and greedy decode at several lengths; answers to questions with the passages that retrieval finds for
them, prompt and answer together; and eight requests at once beside one. The engines take turns; figures are medians,
of answers all tokens over all seconds. Run: python benchmarks/decode.py [--json]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from decode_engines import ENGINES, Answer, Batch, Steps
from turns import taking_turns

TEXT = "the ferry carried two hundred passengers north while fog made its captain think twice about every mile"
TOLD = "Answer the question from the passages, in the words of the passages."


def prompt(gguf: Path, length: int, seed: int = 0) -> list[int]:
    """``length`` tokens that do not repeat themselves much; others for another seed."""
    from capibara.model.gguf_checkpoint import GgufCheckpoint

    text = " ".join(random.Random(seed).choices(TEXT.split(), k=3 * length))
    return GgufCheckpoint(gguf).tokenizer().encode(text)[:length]


def plain(names: list[str], gguf: Path, length: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median prefill and decode tokens/s of each engine at one length of prompt."""
    order = Steps(prompt(gguf, length), options.steps)
    with taking_turns(_makers(names, gguf, length + options.steps + 1, options)) as turns:
        found = [turns.take(order) for _ in range(options.turns + 1)][1:]  # the first turn compiles and warms up
    return {
        name: {
            "prefill": length / statistics.median(turn[name][0] for turn in found),
            "decode": options.steps / statistics.median(turn[name][1] for turn in found),
        }
        for name in names
    }


def grounded(names: list[str], gguf: Path, options: argparse.Namespace) -> dict[str, float]:
    """Generated tokens per second of answers to questions, prompts included."""
    asked = list(questions(gguf, options))
    with taking_turns(_makers(names, gguf, 2048, options)) as turns:
        for order in asked[:2]:
            turns.take(order)
        found = [turns.take(order) for order in asked]
    return {name: sum(turn[name][0] for turn in found) / sum(turn[name][1] for turn in found) for name in names}


def batched(gguf: Path, options: argparse.Namespace) -> dict[str, float]:
    """Generated tokens per second of one request, and of eight at once."""
    prompts = [prompt(gguf, 64, seed) for seed in range(8)]
    seconds: dict[int, list[float]] = {1: [], 8: []}
    with taking_turns(_makers(["capibara"], gguf, 512, options)) as turns:
        for turn in range(options.turns + 1):
            for count in seconds:
                took = turns.take(Batch(prompts[:count], options.steps))["capibara"]
                if turn:
                    seconds[count].append(took)
    return {f"requests_{count}": count * options.steps / statistics.median(took) for count, took in seconds.items()}


def questions(gguf: Path, options: argparse.Namespace) -> Iterable[Answer]:
    """The data set's questions, each after the three passages that are found for it."""
    from capibara.assistant.dataset import indexed, read_passages, read_questions
    from capibara.config.schema import Settings
    from capibara.model.gguf_checkpoint import GgufCheckpoint

    answerable = [question for question in read_questions(options.data) if question.answers]
    drawn = random.Random(0).sample(answerable, min(options.questions, len(answerable)))
    tokenizer = GgufCheckpoint(gguf).tokenizer()
    with indexed(read_passages(options.data), Settings(), lambda *_: None) as assistant:
        for question in drawn:
            found = assistant.search(question.question, top_k=3).passages
            numbered = "\n\n".join(f"[{place}] {one.chunk.text}" for place, one in enumerate(found, start=1))
            content = f"{numbered}\n\n{question.question}"
            rendered = tokenizer.render([{"role": "system", "content": TOLD}, {"role": "user", "content": content}])
            yield Answer(tokenizer.encode(rendered), options.answer_tokens, tokenizer.end_tokens)


def _makers(names: Sequence[str], gguf: Path, context: int, options: argparse.Namespace) -> dict[str, Any]:
    return {name: functools.partial(ENGINES[name], gguf, options.threads, context) for name in names}


def ratios(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Our speed over each other's, the least over all lengths, and at each length."""
    found: dict[str, float] = {}
    for part in ("decode", "prefill"):
        for other in ("llama_cpp", "transformers_f32", "transformers_bf16"):
            each = {
                length: speeds["capibara"][part] / speeds[other][part]
                for length, speeds in results.items()
                if other in speeds and "capibara" in speeds
            }
            if each:
                found[f"{part}_vs_{other}"] = round(min(each.values()), 3)
                found |= {f"{part}_vs_{other}_at_{length}": round(ratio, 3) for length, ratio in each.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--parts", nargs="+", default=["plain", "batch"], choices=["plain", "grounded", "batch"])
    parser.add_argument("--model", default="default", help="GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1500], help="tokens of prompt")
    parser.add_argument("--steps", type=int, default=32, help="decode steps per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--data", type=Path, help="folder of passages and questions, for grounded answers")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--answer-tokens", type=int, default=64, help="at most, of an answer")
    options = parser.parse_args()
    if "grounded" in options.parts and options.data is None:
        parser.error("grounded answers need --data: a folder with passages and questions")
    from capibara.model.locate import locate

    gguf = locate(options.model)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    report: dict[str, Any] = {"threads": options.threads, "ratios": {}}
    if "plain" in options.parts:
        speeds = {str(length): plain(options.engines, gguf, length, options) for length in options.lengths}
        report["tokens_per_second"] = speeds
        report["ratios"] |= ratios(speeds)
    if "grounded" in options.parts:
        report["grounded"] = speeds = grounded(["capibara", "llama_cpp"], gguf, options)
        report["ratios"]["grounded_vs_llama_cpp"] = round(speeds["capibara"] / speeds["llama_cpp"], 3)
    if "batch" in options.parts:
        report["batch"] = speeds = batched(gguf, options)
        report["ratios"]["batch8_vs_one"] = round(speeds["requests_8"] / speeds["requests_1"], 3)
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for length, engines in report.get("tokens_per_second", {}).items():
        print(f"\n{length} tokens of context{'':12}prefill tokens/s   decode tokens/s")
        for name, speed in engines.items():
            print(f"  {name:30}{speed['prefill']:16.1f}{speed['decode']:18.1f}")
    for part in ("grounded", "batch"):
        for name, speed in report.get(part, {}).items():
            print(f"\n{part}: {name} {speed:.1f} tokens/s", end="")
    print("\ncapibara over" + "".join(f"\n  {name:34}{ratio:8.2f}" for name, ratio in report["ratios"].items()))


if __name__ == "__main__":
    main()
