"""Dense, sparse, fused and reranked retrieval side by side, over several weights.

`python benchmarks/ranking.py --data ../shared/data/squad/dev --sample 1000 --seed 0`: R@1, R@3, R@10 of each stage;
with ``--data ../shared/data/cranfield`` nDCG@10 over its graded judgements. Vectors of passages are kept under the
system's temporary folder, so that a second run is quick.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capibara.config.schema import RagSettings
from capibara.rag.adapter_reranker import AdapterReranker
from capibara.rag.analysis import analyze, analyze_query, detect_language
from capibara.rag.embedding import TransformerEmbedder, open_embedder
from capibara.rag.fusion import convex, mix, rrf
from capibara.rag.protocols import Reranker
from capibara.rag.reranking import LateInteractionReranker, open_reranker
from capibara.rag.sparse import RankBm25Index

ALPHAS = (0.2, 0.3, 0.4, 0.5, 0.6)
MIXES = (0.5, 0.6, 0.7, 0.8, 1.0)
Ranking = list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the relevance (above 0) of the passages that answer it."""

    text: str
    relevance: Mapping[str, int]


def main() -> None:
    options = _options()
    passages, queries = _load(options.data)
    queries = random.Random(options.seed).sample(queries, min(options.sample, len(queries)))
    embedder = open_embedder(RagSettings.model_validate({"embedding_backend": options.backend}))
    rankings = _rank(embedder, passages, queries, options.top)
    graded = any(len(query.relevance) > 1 for query in queries)
    report = {stage: _figures(found, queries, graded) for stage, found in rankings.items()}
    if options.json:
        print(json.dumps(report))
        return
    for stage, figures in report.items():
        print(f"{stage:32s} " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def _rank(
    embedder: TransformerEmbedder, passages: Mapping[str, str], queries: Sequence[Query], top: int
) -> dict[str, list[Ranking]]:
    """The rankings of every query, by stage."""
    ids, texts = list(passages), list(passages.values())
    vectors_ND = _cached_vectors(embedder, texts)
    queries_QD = embedder.embed([query.text for query in queries])
    languages = {detect_language(text) for text in texts[:200]} - {None}
    language = max(languages, key=lambda code: sum(detect_language(t) == code for t in texts[:200]))
    sparse_index = RankBm25Index()
    sparse_index.upsert("all", [(i, analyze(text, language)) for i, text in passages.items()])
    rerankers: dict[str, Reranker] = {"late interaction": LateInteractionReranker(embedder, cache_bytes=2**30)}
    if isinstance(bundled := open_reranker(RagSettings(), embedder), AdapterReranker):
        rerankers["adapter"] = bundled
    seconds: dict[str, list[float]] = {name: [] for name in rerankers}
    stages: dict[str, list[Ranking]] = {}
    for query, query_D in zip(queries, queries_QD, strict=True):
        similarities = vectors_ND @ query_D
        dense = [(ids[row], float(similarities[row])) for row in np.argsort(-similarities)[:100]]
        sparse = sparse_index.query("all", analyze_query(query.text, [language]), 100)
        exact = {i: float(similarities[row]) for row, i in enumerate(ids)}
        found = {"dense": dense, "sparse": sparse, "rrf": rrf(dense, sparse)}
        for alpha in ALPHAS:
            found[f"convex {alpha}"] = convex(dense, sparse, alpha, exact)
            found[f"convex {alpha}, floor for missing"] = convex(dense, sparse, alpha)
        for alpha in (0.3, 0.5):
            fused = found[f"convex {alpha}"]
            for name, reranker in rerankers.items():
                began = time.perf_counter()
                scores = reranker.score(query.text, [passages[i] for i, _ in fused[:top]]).tolist()
                seconds[name].append(time.perf_counter() - began)
                for weight in MIXES:
                    found[f"convex {alpha}, {name} {weight}"] = _mixed(fused, scores, weight)
        for stage, ranking in found.items():
            stages.setdefault(stage, []).append(ranking)
    for name, measured in seconds.items():
        print(f"{name}: {1000 * statistics.median(measured):.0f} ms for {top} passages, median", file=sys.stderr)
    return stages


def _mixed(fused: Ranking, scores: Sequence[float], weight: float) -> Ranking:
    head, tail = fused[: len(scores)], fused[len(scores) :]
    mixed = mix([score for _, score in head], scores, weight)
    order = sorted(range(len(head)), key=lambda row: (-mixed[row], row))
    return [(head[row][0], mixed[row]) for row in order] + tail


def _figures(rankings: Sequence[Ranking], queries: Sequence[Query], graded: bool) -> dict[str, float]:
    if graded:
        return {"nDCG@10": float(np.mean([_ndcg(r, q.relevance) for r, q in zip(rankings, queries, strict=True)]))}
    hits = {1: 0, 3: 0, 10: 0}
    for ranking, query in zip(rankings, queries, strict=True):
        for depth in hits:
            hits[depth] += any(i in query.relevance for i, _ in ranking[:depth])
    return {f"R@{depth}": count / len(queries) for depth, count in hits.items()}


def _ndcg(ranking: Ranking, relevance: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gains (Järvelin & Kekäläinen 2002)."""

    def gain(grades: Sequence[int]) -> float:
        return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades[:depth]))

    ideal = gain(sorted(relevance.values(), reverse=True))
    return gain([relevance.get(i, 0) for i, _ in ranking]) / ideal if ideal else 0.0


def _cached_vectors(embedder: TransformerEmbedder, texts: Sequence[str]) -> np.ndarray:
    embedder.warm_up()
    key = hashlib.sha256(f"{embedder.fingerprint} {embedder.backend}".encode())
    for text in texts:
        key.update(text.encode() + b"\0")
    path = Path(tempfile.gettempdir()) / "capibara-benchmarks" / f"{key.hexdigest()[:24]}.npy"
    if path.is_file():
        return np.load(path)
    vectors = embedder.embed(texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, vectors)
    return vectors


def _load(folder: Path) -> tuple[dict[str, str], list[Query]]:
    if (folder / "qrels.tsv").is_file():
        return _load_graded(folder)
    passages = {row["id"]: row["text"] for row in _rows(folder / "passages.jsonl.gz")}
    questions = _rows(folder / "questions.jsonl.gz")
    return passages, [Query(row["question"], {row["passage_id"]: 1}) for row in questions]


def _load_graded(folder: Path) -> tuple[dict[str, str], list[Query]]:
    passages = {str(row["id"]): row["text"] for row in _rows(folder / "docs.jsonl.gz")}
    relevance: dict[str, dict[str, int]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            relevance.setdefault(row["query_id"], {})[row["doc_id"]] = int(row["relevance"])
    return passages, [Query(row["text"], relevance[str(row["id"])]) for row in _rows(folder / "queries.jsonl.gz")]


def _rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    squad = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "squad" / "dev"
    parser.add_argument("--data", type=Path, default=squad)
    parser.add_argument("--backend", default="auto", help="of rag.embedding_backend")
    parser.add_argument("--sample", type=int, default=1000, help="questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--top", type=int, default=20, help="fused passages that are reranked")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
