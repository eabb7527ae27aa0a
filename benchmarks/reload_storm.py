"""Many reloads while questions are asked and a voice is listened to: nothing fails or is mixed, memory is flat."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from reload_settings import KINDS, REAL, Saves
from speech_streams import read_audio

from capibara.assistant import Answer, AnswerReady, Assistant
from capibara.assistant.spoken import AnswerFailed, Asked
from capibara.voice import AudioFormat

_ASKING = 2
_SLICE_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_ROUNDS = 6
"""After so many saves of each kind every value was in force once."""
_COMPOSED = 8
"""Every so many questions one answer is composed; the others are quotes with a phrase."""


def storm(root: Path, seconds: float, reloads: int) -> dict[str, object]:
    """``reloads`` within ``seconds``, in slices between which the same load goes on without any."""
    with tempfile.TemporaryDirectory() as folder:
        saves = Saves(Path(folder))
        saves.write()
        with Assistant.open(folder, watch=True) as assistant, saves.witness.watching(assistant):
            assistant.ingest(root / "examples" / "documents")
            assistant.warm_up(speech=True)
            return _Storm(root, assistant, saves).run(seconds, reloads)


@dataclass(slots=True)
class Counts:
    """What became of the requests. ``latencies``: seconds, by slice (with or without reloads) and language model."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    turns: int = 0
    spoken_answers: int = 0
    latencies: dict[tuple[bool, bool], list[float]] = field(default_factory=dict)


class _Storm:
    def __init__(self, root: Path, assistant: Assistant, saves: Saves) -> None:
        self._root, self._assistant, self._saves = root, assistant, saves
        self._counts = Counts()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stormy = False
        self._applied = threading.Semaphore(0)
        self._took: list[tuple[str, float]] = []
        self._missed = 0
        self._memory: list[float] = []
        self._kinds = itertools.cycle(KINDS)
        with (root / "examples" / "questions.toml").open("rb") as file:
            listed = tomllib.load(file)["questions"]
        self._questions = [row["question"] for row in listed if row["language"] == "en"][:6]

    def run(self, seconds: float, reloads: int) -> dict[str, object]:
        end = self._assistant.on_change([], lambda _: self._applied.release())
        for question in self._questions:
            for variant in ("default", "composed"):
                self._assistant.ask(question, variant=variant)
        workers = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(_ASKING)]
        workers.append(threading.Thread(target=lambda: asyncio.run(self._listen())))
        for worker in workers:
            worker.start()
        self._reload(_ROUNDS * len(KINDS), 0.0)
        self._calm(0)
        with self._lock:
            self._counts.latencies.clear()
        before, self._took = self._assistant.generation, []
        first = _resident_mb()
        slices = max(1, round(seconds / _SLICE_SECONDS))
        stormy = 0.0
        for number in range(slices):
            time.sleep(seconds / slices)
            began, self._stormy = time.monotonic(), True
            self._reload(reloads // slices, seconds / slices)
            self._stormy = False
            stormy += time.monotonic() - began
            self._calm(number + 1)
        self._over.set()
        for worker in workers:
            worker.join()
        end()
        gc.collect()
        return self._report(first, before, stormy)

    def _reload(self, count: int, seconds: float) -> None:
        """``count`` saves, evenly over ``seconds``; each is waited for, so that each is a generation of its own."""
        began = time.monotonic()
        for done in range(count):
            kind = next(self._kinds)
            at = time.perf_counter()
            self._saves.advance(kind)
            if done % 3:  # in the middle of the quiet time that the watcher waits for
                self._assistant.reload()
            self._taken_up()
            self._took.append((kind, time.perf_counter() - at))
            if len(self._took) % 20 == 0:
                self._memory.append(round(_resident_mb()))
            time.sleep(max(0.0, began + (done + 1) * seconds / count - time.monotonic()))

    def _calm(self, number: int) -> None:
        self._saves.calm(number)
        self._taken_up()

    def _taken_up(self) -> None:
        self._missed += not self._applied.acquire(timeout=_PATIENCE_SECONDS)

    def _ask_on(self, first: int) -> None:
        for number in itertools.count(first):
            if self._over.is_set():
                return
            stormy, began = self._stormy, time.perf_counter()
            question = self._questions[number % len(self._questions)]
            variant = "composed" if number % _COMPOSED == 0 else "default"
            try:
                answer = self._assistant.ask(question, variant=variant)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is counted
                with self._lock:
                    self._counts.failed.append(f"{type(error).__name__}: {error}")
                continue
            took = time.perf_counter() - began
            self._answered(answer)
            with self._lock:
                by_real = REAL in self._saves.witness.seen.model
                self._counts.latencies.setdefault((stormy, by_real), []).append(took)

    def _answered(self, answer: Answer) -> None:
        with self._lock:
            self._counts.requests += 1
            self._counts.degraded += answer.degraded

    async def _listen(self) -> None:
        """One live conversation over recordings in a loop."""
        try:
            async for event in self._assistant.converse(_Loop(self._root, self._over), paced=True):
                if isinstance(event, Asked):
                    self._counts.turns += 1
                elif isinstance(event, AnswerReady):
                    self._counts.spoken_answers += 1
                    with self._lock:
                        self._counts.degraded += event.answer.degraded
                elif isinstance(event, AnswerFailed):
                    self._counts.failed.append(f"spoken: {event}")
        except Exception as error:  # noqa: BLE001 -- as above
            self._counts.failed.append(f"voice: {type(error).__name__}: {error}")

    def _report(self, first: float, before: int, stormy: float) -> dict[str, object]:
        counts, witness = self._counts, self._saves.witness
        with_real, without_real = (counts.latencies.get((kind, True), [0.0]) for kind in (True, False))
        with_all = with_real + counts.latencies.get((True, False), [])
        ratio = _p(95, with_real) / max(_p(95, without_real), 1e-9)
        history = self._assistant.metrics()
        return {
            "reloads": self._assistant.generation - before,
            "in s": round(stormy, 1),
            "reloads without effect": self._missed,
            "reloads failed": history.count('result="failed"'),
            "save to effect median/worst s": _times([took for _, took in self._took]),
            **{f"{kind} median/worst s": _times([took for of, took in self._took if of == kind]) for kind in KINDS},
            "requests": counts.requests,
            "failed": len(counts.failed),
            "degraded": len(counts.degraded),
            "mixed": len(witness.mixed),
            "saves seen by requests": len(witness.numbers),
            "spoken turns": counts.turns,
            "answered": counts.spoken_answers,
            "what went wrong": [*counts.failed, *counts.degraded, *witness.mixed][:5],
            "p50 with/without s": f"{_p(50, with_real):.2f}/{_p(50, without_real):.2f}",
            "p95 with/without s": f"{_p(95, with_real):.2f}/{_p(95, without_real):.2f}",
            "p95 ratio": round(ratio, 2),
            "p95 with, tiny models too": round(_p(95, with_all), 2),
            "of": f"{len(with_real)}/{len(without_real)}",
            "memory MB first/each 20 reloads/end": [round(first), *self._memory, round(_resident_mb())],
            "generations alive": self._assistant._live.generations_in_use,
        }


class _Loop:
    """The recordings of questions, again and again, with pauses, until ``over``."""

    def __init__(self, root: Path, over: threading.Event) -> None:
        self.audio_format = AudioFormat()
        self._over = over
        folder = root / "tests" / "voice" / "fixture" / "recordings"
        rows = json.loads((folder / "manifest.json").read_text("utf-8"))["recordings"]
        chosen = [row["file"] for row in rows if row.get("document") and row["language"] == "en"][:4]
        pause = np.zeros(3 * 16_000, np.float32)
        self._audio = np.concatenate([part for file in chosen for part in (read_audio(folder / file), pause)])

    def blocks(self) -> Iterator[np.ndarray]:
        step = 1600
        for at in itertools.cycle(range(0, len(self._audio), step)):
            if self._over.is_set():
                return
            yield self._audio[at : at + step, None]

    def close(self) -> None:
        """Nothing to let go of."""


def _p(percent: int, values: list[float]) -> float:
    return float(np.percentile(values, percent))


def _times(seconds: list[float]) -> str:
    return f"{_p(50, seconds):.2f}/{max(seconds):.2f}" if seconds else "-"


def _resident_mb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 2**20
