"""Passages per second and agreement of every embedding backend, alternated in one run with sentence-transformers.

`python benchmarks/embedding.py --json`: ``passages_per_second`` (best round of each), ``ratios`` against
sentence-transformers float32 `encode`, ``cosine`` {mean, least} with it, and ``recall_at_1`` of dense search alone
over the sampled passages. ``--threads 1 --clock cpu`` measures processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from capibara.config.schema import RagSettings
from capibara.rag.embedding import open_embedder
from capibara.rag.models import find_embedding_model

SQUAD = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "squad" / "dev"
BACKENDS = ("torch", "openvino", "openvino-int8")
REFERENCE = "sentence-transformers"


def main() -> None:
    options = _options()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    from sentence_transformers import SentenceTransformer

    passages, questions, gold = _sampled(options.data, options.sample, options.seed)
    reference = SentenceTransformer(str(find_embedding_model(options.model).folder), device="cpu")
    encoders: dict[str, Callable[[list[str]], np.ndarray]] = {
        REFERENCE: lambda texts: reference.encode(texts, batch_size=32, normalize_embeddings=True)
    }
    for backend in options.backends:
        settings = RagSettings.model_validate({"embedding_model": options.model, "embedding_backend": backend})
        encoders[backend] = open_embedder(settings).embed
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    report = _measure(encoders, passages, questions, gold, options.rounds, clock)
    if options.json:
        print(json.dumps(report))
        return
    print(f"{'backend':22s} {'passages/s':>10s} {'ratio':>6s} {'cosine':>7s} {'least':>7s} {'R@1':>6s}")
    for name in encoders:
        cosine = report["cosine"][name]
        print(
            f"{name:22s} {report['passages_per_second'][name]:10.1f} {report['ratios'][name]:6.2f} "
            f"{cosine['mean']:7.4f} {cosine['least']:7.4f} {report['recall_at_1'][name]:6.3f}"
        )


def _measure(
    encoders: dict[str, Callable[[list[str]], np.ndarray]],
    passages: list[str],
    questions: list[str],
    gold: np.ndarray,
    rounds: int,
    clock: Callable[[], float],
) -> dict:
    for encode in encoders.values():
        encode(passages[:8])
    best = dict.fromkeys(encoders, float("inf"))
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, encode in encoders.items():
            begin = clock()
            vectors[name] = encode(passages)
            best[name] = min(best[name], clock() - begin)
    rates = {name: len(passages) / seconds for name, seconds in best.items()}
    cosines = {name: (found * vectors[REFERENCE]).sum(axis=1) for name, found in vectors.items()}
    recalls = {
        name: float((np.argmax(encode(questions) @ vectors[name].T, axis=1) == gold).mean())
        for name, encode in encoders.items()
    }
    return {
        "passages": len(passages),
        "passages_per_second": rates,
        "ratios": {name: rate / rates[REFERENCE] for name, rate in rates.items()},
        "cosine": {name: {"mean": float(c.mean()), "least": float(c.min())} for name, c in cosines.items()},
        "recall_at_1": recalls,
    }


def _sampled(folder: Path, sample: int, seed: int) -> tuple[list[str], list[str], np.ndarray]:
    """``sample`` passages (0: all), up to 1,000 questions about them, and each question's passage as a row number."""
    passages, questions = _rows(folder / "passages.jsonl.gz"), _rows(folder / "questions.jsonl.gz")
    generator = random.Random(seed)
    if sample:
        passages = generator.sample(passages, min(sample, len(passages)))
    rows = {passage["id"]: row for row, passage in enumerate(passages)}
    about = [question for question in questions if question["passage_id"] in rows]
    about = generator.sample(about, min(1000, len(about)))
    gold = np.array([rows[question["passage_id"]] for question in about])
    return [passage["text"] for passage in passages], [question["question"] for question in about], gold


def _rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SQUAD, help="folder of passages.jsonl.gz and questions.jsonl.gz")
    parser.add_argument("--model", default="default")
    parser.add_argument("--backends", nargs="*", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--sample", type=int, default=256, help="passages; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: all cores")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
