"""Kills an ingest at seeded points and looks at what is left; run by test_crash.py, prints one JSON line per point.

The parent imports everything heavy once and starts no thread; each run is a child made by fork, with the real store,
Chroma, SQLite and (tiny) embedding model. Even points die at a given SQLite statement, odd ones at a given moment,
which may lie inside Chroma's or OpenVINO's native code.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import chromadb.api.rust
import chromadb.telemetry.product.posthog
import openvino
import snowballstemmer
import tokenizers

from capibara.config.schema import RagSettings
from capibara.rag import Library, dense, fts5, ingest, openvino_backend, sparse
from capibara.rag.loaders import text as text_loader

PRELOADED = (chromadb, openvino, snowballstemmer, tokenizers, dense, fts5, openvino_backend, sparse, text_loader)
NEW = range(6, 14)
CHANGED = range(0, 3)
MOVED = 3  # its text goes to another file
REMOVED = 4
COPIES = {"copy-new.txt": 7, "copy-old.txt": 5}

Tell = Callable[[dict], None]


def text(number: int, version: int) -> str:
    """Two sections: the second one stays when a document changes."""
    first = f"The ferry number {number} marker{number}v{version} goes north in summer."
    second = f"The valve of pump {number} anchor{number} is green and the pressure is {number}00."
    return f"{first}\n\n" + "It is a boat on the river and the lake. " * 8 + f"\n\n{second}\n"


def write_first(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.txt").write_text(text(number, 1))


def write_second(folder: Path) -> None:
    for number in CHANGED:
        (folder / f"{number}.txt").write_text(text(number, 2))
    for number in NEW:
        (folder / f"{number}.txt").write_text(text(number, 1))
    for name, number in COPIES.items():
        (folder / name).write_text(text(number, 1))
    (folder / f"{MOVED}.txt").rename(folder / "moved.txt")


def base_run(data: Path, documents: Path, settings: RagSettings, tell: Tell) -> None:
    with Library.open(data, settings) as library:
        library.ingest([documents])
    tell({"done": True})


def killed_run(data: Path, documents: Path, settings: RagSettings, statement: int | None, tell: Tell) -> None:
    """What is killed. Every acknowledged step is told before the next one begins."""
    ingest.BATCH_CHUNKS = 5
    began = time.perf_counter()
    library = Library.open(data, settings)
    count = 0

    def traced(_: str) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    library.store.database.connection.set_trace_callback(traced)
    library.ingest([documents], progress=lambda p: tell({"stored": p.outcome.source}) if p.outcome else None)
    library.remove(library.document(str(documents / f"{REMOVED}.txt")).id)
    tell({"removed": True})
    library.ingest([documents], prune=True)
    tell({"pruned": True})
    library.close()
    tell({"statements": count, "seconds": time.perf_counter() - began})


def check_run(data: Path, documents: Path, settings: RagSettings, told: list[dict], finish: bool, tell: Tell) -> None:
    """Open what is left, compare it with what was acknowledged, then perhaps finish the work."""
    acknowledged = {Path(t["stored"]).name for t in told if "stored" in t}
    flags = {key for t in told for key in t}
    problems: list[str] = []
    with Library.open(data, settings) as library:
        healed = library.status().healed
        stored = {Path(d.source).name for d in library.documents()}
        must = {f"{n}.txt" for n in range(6)} | acknowledged
        must -= {f"{REMOVED}.txt"} if "stored" in flags else set()
        must -= {f"{MOVED}.txt"} if "removed" in flags else set()
        problems += [f"{name} is lost" for name in sorted(must - stored)]
        if "removed" in flags and "pruned" not in flags and f"{REMOVED}.txt" in stored:
            problems += [] if _again(told) else [f"{REMOVED}.md came back"]
        for name in sorted(stored):
            problems += _found_once(library, documents, name, name in acknowledged)
        problems += _inconsistencies(library)
        if finish:
            library.ingest([documents], prune=True)
            after = {Path(d.source).name for d in library.documents()}
            if after != {path.name for path in documents.iterdir()}:
                problems.append(f"finishing the work left {sorted(after)}")
            for name in sorted(after):
                problems += _found_once(library, documents, name, True)
            problems += _inconsistencies(library)
    tell({"problems": problems, "healed": healed, "acknowledged": len(acknowledged)})


def _again(told: list[dict]) -> bool:
    """Whether the second ingest may have begun, which brings the removed document back."""
    return any("removed" in t for t in told)


def _found_once(library: Library, documents: Path, name: str, newest: bool) -> list[str]:
    """Every sentence of a stored document is retrieved as exactly one passage or alias of that document."""
    document = next(d for d in library.documents() if Path(d.source).name == name)
    whole = library.text(document.id, 0, document.characters)
    number = whole.split("ferry number ")[1].split()[0]
    problems = []
    if newest and (documents / name).exists() and whole != (documents / name).read_text():
        problems.append(f"{name} is not the acknowledged version")
    marker = next(word for word in whole.split() if word.startswith(f"marker{number}v"))
    for word in (marker, f"anchor{number}"):
        places = [
            place
            for passage in library.search(word, top_k=100).passages
            for place in (passage.chunk, *passage.aliases)
            if place.document_id == document.id and word in library.text(document.id, place.start, place.end).split()
        ]
        if len(places) != 1:
            problems.append(f"{word} of {name} is retrieved {len(places)} times")
    return problems


def _inconsistencies(library: Library) -> list[str]:
    rows = library.store.database.rows
    problems = []
    truth = library.store.indexed_ids("default")
    for name, index in (("dense", library._indexes.dense), ("sparse", library._indexes.sparse)):
        if index.ids("default") != truth:
            problems.append(f"the {name} index differs from the store")
    for entries in library.store.all_entries("default"):
        for entry in entries:
            found = library._indexes.dense.query("default", entry.vector, 1)
            if not found or found[0][1] < 0.999:
                problems.append(f"the dense index has another vector for {entry.id}")
    queries = {
        "staging left": "SELECT id FROM documents WHERE state != 'ready'",
        "outbox left": "SELECT chunk_id FROM outbox",
        "orphaned embedding": "SELECT number FROM embeddings WHERE number NOT IN (SELECT embedding FROM chunks)",
        "broken reference": "PRAGMA foreign_key_check",
        "damaged": "SELECT * FROM pragma_integrity_check WHERE integrity_check != 'ok'",
        "alias of an alias": "SELECT a.id FROM chunks a JOIN chunks b ON a.owner = b.number WHERE b.owner IS NOT NULL",
        "wrong count": "SELECT id FROM documents d "
        "WHERE chunks != (SELECT COUNT(*) FROM chunks c WHERE version = d.number)",
    }
    return problems + [f"{name}: {found}" for name, sql in queries.items() if (found := rows(sql))]


def child(work: Callable[[Tell], None], kill_after: float | None = None) -> list[dict]:
    """Run ``work`` in a child of its own, killed after so many seconds; what it told until it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            work(lambda message: os.write(writing, (json.dumps(message) + "\n").encode()) and None)
        except BaseException:  # noqa: BLE001 — a child must never return into the parent's code
            os.write(writing, (json.dumps({"error": traceback.format_exc()}) + "\n").encode())
        os._exit(0)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reading, "rb") as stream:
        lines = stream.read().splitlines()
    os.waitpid(pid, 0)
    return [json.loads(line) for line in lines]


def report(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    settings = {
        name: RagSettings(
            embedding_model=arguments.model, embedding_backend="openvino", sparse_index=name, reranker="none"
        )
        for name in ("rank-bm25", "fts5")
    }
    documents = folder / "documents"
    write_first(documents)
    for name, chosen in settings.items():
        told = child(lambda tell, chosen=chosen, name=name: base_run(folder / f"base-{name}", documents, chosen, tell))
        if told != [{"done": True}]:
            report(json.dumps({"point": -1, "problems": [str(told)]}))
            return 1
    write_second(documents)
    measured = {}
    for name, chosen in settings.items():
        shutil.copytree(folder / f"base-{name}", folder / f"whole-{name}")
        told = child(lambda tell, n=name, c=chosen: killed_run(folder / f"whole-{n}", documents, c, None, tell))
        measured[name] = told[-1]
        if "statements" not in told[-1]:
            report(json.dumps({"point": -1, "problems": [str(told[-1])]}))
            return 1
    draw = random.Random(arguments.seed)
    for point in range(arguments.points):
        name = ("rank-bm25", "fts5")[point // 2 % 2]
        data = folder / f"data{point}"
        shutil.copytree(folder / f"base-{name}", data)
        at = draw.uniform(0.0, 1.0)
        statement = 1 + int(at * measured[name]["statements"]) if point % 2 == 0 else None
        moment = None if point % 2 == 0 else at * measured[name]["seconds"]
        told = child(lambda tell, d=data, n=name, s=statement: killed_run(d, documents, settings[n], s, tell), moment)
        finish = point % 5 == 0
        found = child(lambda tell, d=data, n=name, t=told, f=finish: check_run(d, documents, settings[n], t, f, tell))
        last = found[-1] if found else {"problems": ["the check died"]}
        last.setdefault("problems", [last.get("error", "no answer")])
        report(
            json.dumps(
                {"point": point, "at": at, "index": name, "survived": "statements" in (told or [{}])[-1], **last}
            )
        )
        shutil.rmtree(data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
