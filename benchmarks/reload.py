"""How settings change while the assistant works: saves, a storm of reloads under load, and the time to take effect.

`python benchmarks/reload.py saves --times 200`: every way of saving a file, on events and on polling, must give exactly
one generation each time. `storm`: reloads of alpha, reranker, model, voice and prompts while questions are asked and
recordings are listened to, in slices between which the same load goes on without reloads. `effect`: from the end of a
save to the end of the first request that sees it, and the steps of a generation while another language model is loaded.
``--json`` prints one object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reload_effect import effect
from reload_saves import saves
from reload_storm import storm

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    options = _options()
    report: dict[str, object] = {}
    if "saves" in options.parts:
        report["saves"] = saves(options.times)
    if "storm" in options.parts:
        report["storm"] = storm(ROOT, options.seconds, options.reloads)
    if "effect" in options.parts:
        report["effect"] = effect(ROOT)
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for title, rows in report.items():
        print(f"\n{title}")
        for row in rows if isinstance(rows, list) else [rows]:
            print("  " + "  ".join(f"{name} {value}" for name, value in row.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["saves", "storm", "effect"])
    parser.add_argument("--times", type=int, default=200, help="saves of each kind")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the storm, and of the load without it")
    parser.add_argument("--reloads", type=int, default=200, help="in the storm")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
