"""Settings change again and again while questions are asked and a voice is listened to: nobody notices.

Small language models and rerankers, made on the spot, are swapped; each save leaves its number in settings that go
different ways, and `Witness` compares what one request meets of them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from capibara.assistant import Assistant
from capibara.assistant.spoken import AnswerFailed, Asked
from capibara.assistant.values import AnswerReady

from ..voice.recorded import audio
from .effects.observing import until
from .test_converse import COST, KEY, NOTE, Sound

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from reload_models import tiny_language_model
from reload_witness import Expected, Witness

SPEECH = Path(__file__).resolve().parents[1] / "voice" / "fixture" / "model"
QUESTIONS = ("How much does a night in Casa Garza cost?", "Where does the key of the dry store hang?")
RELOADS = 12


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [tiny_language_model(folder / f"tiny-{seed}", seed) for seed in (1, 2)]


class Storm:
    """An assistant over a note, its settings file, and what to save next."""

    def __init__(self, folder: Path, models: list[Path]) -> None:
        self.witness = Witness()
        self.failed: list[object] = []
        self.answered, self.turns = 0, 0
        self.over = threading.Event()
        self._file, self._persona, self._models = folder / "capibara.toml", folder / "persona.txt", models
        (folder / "note.txt").write_text(NOTE, "utf-8")
        self.save(1)
        self.assistant = Assistant.open(folder, watch=True)
        self.assistant.ingest(folder / "note.txt")

    def save(self, number: int) -> None:
        """Every value depends on ``number``; the text file has it too, and is read with the TOML file."""
        model = self._models[number % 2]
        expected = Expected(
            alpha=round(0.1 + 0.05 * (number % 12), 2),
            reranker=("none", "late-interaction")[number % 2],
            model=model.name,
            context_tokens=8192 - number,
        )
        self.witness.expected[number] = expected
        self.witness.together.add((number, number))
        persona = self._persona.with_stem(f"persona-{number}")
        persona.write_text(f"You are warden number {number}.", "utf-8")
        beside = self._file.with_suffix(".new")
        beside.write_text(
            f"""\
[model]
path = "{model.as_posix()}"
context_tokens = {expected.context_tokens}
[generation]
max_tokens = 4
seed = {number}
[rag]
rrf_k = {number}
alpha = {expected.alpha}
reranker = "{expected.reranker}"
[voice]
model = "{SPEECH.as_posix()}"
language = "en"
vad = "webrtc"
aggressiveness = {number % 3}
threads = {1 + number % 2}
[assistant]
least_support = 0.3
persona = "./{persona.name}"
[variants.composed.set]
assistant.answer_style = "compose"
assistant.evidence_passages = 1
""",
            "utf-8",
        )
        beside.replace(self._file)

    def ask_on(self, variant: str) -> None:
        """Ask until the storm is over."""
        number = 0
        while not self.over.is_set():
            try:
                answer = self.assistant.ask(QUESTIONS[number % 2], variant=variant)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it fails the test
                self.failed.append(error)
                return
            self.failed += answer.degraded
            self.answered, number = self.answered + 1, number + 1

    def listen(self) -> None:
        """A live conversation, as fast as it is taken, until the storm is over."""
        while not self.over.is_set():
            try:
                asyncio.run(self._converse())
            except Exception as error:  # noqa: BLE001 -- as above
                self.failed.append(error)
                return

    async def _converse(self) -> None:
        async for event in self.assistant.converse(Sound(audio(0.5, COST, 3.0, KEY, 3.0))):
            if isinstance(event, AnswerFailed):
                self.failed.append(event)
            if isinstance(event, AnswerReady):
                self.failed += event.answer.degraded
            self.turns += isinstance(event, Asked)


@pytest.fixture
def storm(tmp_path: Path, models: list[Path]) -> Iterator[Storm]:
    made = Storm(tmp_path, models)
    with made.assistant:
        yield made


def test_no_request_fails_or_sees_two_generations_and_what_was_swapped_is_let_go_of(storm: Storm) -> None:
    assistant, old = storm.assistant, []
    with storm.witness.watching(assistant):
        assistant.warm_up(speech=True)
        workers = [
            threading.Thread(target=storm.ask_on, args=("default",)),
            threading.Thread(target=storm.ask_on, args=("composed",)),
            threading.Thread(target=storm.listen),
        ]
        for worker in workers:
            worker.start()
        try:
            for number in range(2, RELOADS + 2):
                old += _models_of(assistant)
                before = storm.answered
                storm.save(number)
                until(lambda number=number: assistant.generation >= number or bool(storm.failed))
                until(lambda before=before: storm.answered > before or bool(storm.failed))
            until(lambda: storm.turns > 0 or bool(storm.failed))
        finally:
            storm.over.set()
            for worker in workers:
                worker.join()
        assert storm.failed == []
        assert storm.witness.mixed == []
        assert assistant.generation == RELOADS + 1
        assert len(storm.witness.numbers) > RELOADS // 2
    current = {id(model) for part in _models_of(assistant) if (model := part()) is not None}
    gc.collect()
    assert assistant._live.generations_in_use == 1
    assert [part() for part in old if part() is not None and id(part()) not in current] == []


def _models_of(assistant: Assistant) -> list[weakref.ref]:
    """The language model, the reranker and the speech model in use."""
    parts = assistant._live.snapshot.parts
    models = (
        parts["language"].request().result().model,
        parts["search"].open().reranker,
        parts["speech"].transcriber(),
    )
    return [weakref.ref(model) for model in models if model is not None]
