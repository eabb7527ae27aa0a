"""Questions about real documents of many formats: the rank of the passage, on its page, that answers each.

`python benchmarks/probes.py`: every readable document of ``../shared/data/documents`` in a supported format is ingested
into a temporary folder with the default settings; ``--json`` prints one object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from capibara.config.schema import RagSettings
from capibara.rag import Library
from capibara.rag.loaders import SUPPORTED_SUFFIXES
from capibara.rag.values import Passage

DOCUMENTS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "documents"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question; a passage answers it that stands in ``path``, on ``page`` if one is named, and holds ``answer``."""

    path: str
    question: str
    answer: str
    page: int | None

    def answered_by(self, passage: Passage) -> bool:
        here = Path(passage.document.source).name == self.path and self.page in (None, passage.chunk.page)
        return here and _squeezed(self.answer) in _squeezed(passage.chunk.text)


def main() -> None:
    options = _options()
    probes = _probes(options.documents)
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder), RagSettings()) as library:
        report = library.ingest(sorted({options.documents / probe.path for probe in probes}))
        ranks = [_rank(library, probe, options.depth) for probe in probes]
    share = sum(rank is not None and rank <= 3 for rank in ranks) / max(1, len(ranks))
    if options.json:
        rows = [{**asdict(probe), "rank": rank} for probe, rank in zip(probes, ranks, strict=True)]
        print(json.dumps({"top_3": share, "failed": report.count("failed"), "probes": rows}, ensure_ascii=False))
        return
    for probe, rank in zip(probes, ranks, strict=True):
        print(f"{rank or '-':>4} {probe.path:32s} {probe.question}")
    print(f"in the top 3: {share:.1%} of {len(probes)}; files that failed: {report.count('failed')}")


def _probes(folder: Path) -> list[Probe]:
    found = []
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["expect"] != "text" or Path(row["path"]).suffix not in SUPPORTED_SUFFIXES:
            continue
        if row.get("probe_question"):
            found.append(Probe(row["path"], row["probe_question"], row["probe_answer"], row.get("page")))
        more = row.get("more_probes", [])
        found += [Probe(row["path"], probe["question"], probe["answer"], probe["page"]) for probe in more]
    return found


def _rank(library: Library, probe: Probe, depth: int) -> int | None:
    """From 1; None: not among the first ``depth``."""
    passages = library.search(probe.question, top_k=depth).passages
    return next((rank for rank, passage in enumerate(passages, 1) if probe.answered_by(passage)), None)


def _squeezed(text: str) -> str:
    return "".join(text.casefold().split())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=Path, default=DOCUMENTS)
    parser.add_argument("--depth", type=int, default=10, help="passages looked at")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
