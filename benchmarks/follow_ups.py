"""How follow-up questions are made to stand alone: each way's recall at the best passage.

`python benchmarks/follow_ups.py [--json]`: the follow-up as it is, with the earlier question's words, and rewritten by
the language model where its proposal is faithful (the way `capibara chat` goes).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from pathlib import Path

from capibara.assistant import Assistant
from capibara.assistant.condense import condense, refers_back
from capibara.assistant.conversations import Turn
from capibara.rag.analysis import detect_language

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = parser.parse_args().json
    rows = tomllib.loads((EXAMPLES / "follow_ups.toml").read_text("utf-8"))["follow_ups"]
    found = {"as asked": 0, "earlier words": 0, "model, else earlier words": 0}
    noticed, questions = 0, []
    with tempfile.TemporaryDirectory() as folder, Assistant.open(folder) as assistant:
        assistant.ingest(EXAMPLES / "documents")
        model = assistant.language_model()
        for row in rows:
            language = detect_language(row["follow_up"])
            turn = Turn(row["first"], row["first"], assistant.ask(row["first"]).text)
            noticed += refers_back(row["follow_up"], language)
            asked = {
                "as asked": row["follow_up"],
                "earlier words": condense(row["follow_up"], [turn], None, language),
                "model, else earlier words": condense(row["follow_up"], [turn], model, language),
            }
            questions.append(asked)
            for way, question in asked.items():
                passages = assistant.search(question, top_k=1).passages
                found[way] += any(row["expected"] in " ".join(p.chunk.text.split()) for p in passages)
    report = {"questions": len(rows), "noticed": noticed, "found_first": found}
    if as_json:
        print(json.dumps(report | {"asked": questions}, ensure_ascii=False))
        return
    print(f"{noticed} of {len(rows)} noticed as follow-ups")
    for way, count in found.items():
        print(f"{way:28} {count:3} of {len(rows)} found in the best passage")
    for asked in questions:
        print("  " + "  |  ".join(asked.values()))


if __name__ == "__main__":
    main()
