"""Spoken questions over the example documents through the whole walk: heard, answered, and how soon.

`python benchmarks/conversation.py`: each recording is played at its own pace into one `Assistant.converse`. A
transcript is right at a word error rate of at most 10 %; an answer is right when it cites the document the question is
about. The answers are not spoken, which would only take time. Latencies are in seconds after the speech begins (first
partial) or ends (end of turn): *unaware* in samples of the audio that had come, *aware* by the clock, which counts the
model's time too. ``--fast`` plays without pace and
gives no aware figures. ``--json`` prints one object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from speech_streams import word_errors

from capibara.assistant import AnswerReady, Asked, Assistant
from capibara.voice import AudioFile, EndOfTurn, Partial

ROOT = Path(__file__).resolve().parents[1]
FIXTURE = ROOT / "tests" / "voice" / "fixture"
RATE = 16_000


@dataclass(frozen=True, slots=True)
class Row:
    """One spoken question. Latencies are None where nothing came, or where the clock does not count."""

    asked: str
    heard: str
    word_error_rate: float
    cited: bool
    partial_unaware: float | None = None
    partial_aware: float | None = None
    endpoint_unaware: float | None = None
    endpoint_aware: float | None = None

    @property
    def right(self) -> bool:
        return self.word_error_rate <= 0.1


def main() -> None:
    options = _options()
    listed = json.loads((options.recordings / "manifest.json").read_text("utf-8"))["recordings"]
    spoken = [row for row in listed if row.get("document") and row["language"] == options.language]
    overrides = {"voice.model": str(options.model), "voice.language": options.language}
    with tempfile.TemporaryDirectory() as data, Assistant.open(data, overrides=overrides) as assistant:
        assistant.ingest(ROOT / "examples" / "documents")
        assistant.warm_up(speech=True)
        rows = [asyncio.run(_asked(assistant, options.recordings, row, options.fast)) for row in spoken]
    _print(rows, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=FIXTURE / "model", help="Whisper folder")
    parser.add_argument("--recordings", type=Path, default=FIXTURE / "recordings", help="folder with a manifest.json")
    parser.add_argument("--language", default="en")
    parser.add_argument("--fast", action="store_true", help="without pace")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def _asked(assistant: Assistant, folder: Path, row: dict, fast: bool) -> Row:
    """Play one recording and keep what came of it, and when."""
    talk = assistant.converse(AudioFile(folder / row["file"]), live=not fast, paced=not fast)
    came: list[tuple[float, object]] = []
    began = time.monotonic()
    async for event in talk:
        came.append((time.monotonic() - began, event))
    heard = " ".join(event.question for _, event in came if isinstance(event, Asked))
    documents = {
        Path(citation.document).name
        for _, event in came
        if isinstance(event, AnswerReady)
        for citation in event.answer.citations
    }
    errors, words = word_errors(row["text"], heard)
    start, end = row["start_sample"] / RATE, row["end_sample"] / RATE
    partial = _latency(came, Partial, start, fast)
    endpoint = _latency(came, EndOfTurn, end, fast)
    return Row(row["text"], heard, errors / words, row["document"] in documents, *partial, *endpoint)


def _latency(
    came: list[tuple[float, object]], kind: type[Partial] | type[EndOfTurn], since: float, fast: bool
) -> tuple[float | None, float | None]:
    """Unaware and aware latency of the first event of ``kind`` that holds words."""
    for at, event in came:
        if isinstance(event, kind) and event.text:
            return event.sample / RATE - since, None if fast else at - since
    return None, None


def _print(rows: list[Row], as_json: bool) -> None:
    names = ("partial_unaware", "partial_aware", "endpoint_unaware", "endpoint_aware")
    latencies: dict[str, dict[str, float]] = {}
    for name in names:
        if values := [getattr(row, name) for row in rows if getattr(row, name) is not None]:
            latencies[name] = {"median": round(statistics.median(values), 2), "worst": round(max(values), 2)}
    summary = {
        "questions": len(rows),
        "transcripts_right": sum(row.right for row in rows),
        "documents_cited": sum(row.cited for row in rows),
        "latency_seconds": latencies,
    }
    if as_json:
        print(json.dumps({**summary, "rows": [asdict(row) for row in rows]}, ensure_ascii=False))
        return
    for row in rows:
        print(f"{'right' if row.right else 'WRONG'} {'cited' if row.cited else 'MISSED':6} {row.heard or '(nothing)'}")
    for name, value in summary.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
