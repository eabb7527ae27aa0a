"""How soon a save takes effect, and how long a generation is held up while another language model is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
from reload_models import tiny_language_model

from capibara.assistant import Assistant
from capibara.assistant.cli.collector import leave_out_what_is_loaded
from capibara.model import LanguageModel, Sampling
from capibara.voice import AudioFormat, TranscriptionStream

TIMES = 20
_CALM_SECONDS = 3.0
_LIMIT_SECONDS = 30.0
_QUESTION = "How much does a night in Casa Garza cost?"
_PROMPT = "Once upon a time there was a station between the river and the sea. Every morning"


def effect(root: Path) -> dict[str, object]:
    """Plain values first, then a generation while the model is swapped."""
    with tempfile.TemporaryDirectory() as folder:
        data, file = Path(folder), Path(folder) / "capibara.toml"
        other = tiny_language_model(data / "tiny")
        (data / "persona.txt").write_text("The warden.")
        small = {"model__path": f'"{other.as_posix()}"'}
        _save(file, _settings(**small))
        with Assistant.open(data, watch=True) as assistant:
            assistant.ingest(root / "examples" / "documents")
            _prompt_tokens(assistant)
            return {
                "save to effect, s": {
                    "prompt text file": _prompt_file(assistant, data / "persona.txt"),
                    "rag.alpha": _plain(assistant, file, small),
                    "voice.endpoint_seconds": _voice(assistant, file, small),
                },
                "swap": _swaps(assistant, file, small),
            }


def _settings(**values: object) -> str:
    """A TOML file; names are dotted with two underscores."""
    fixture = Path(__file__).resolve().parents[1] / "tests" / "voice" / "fixture" / "model"
    given = {
        "assistant__persona": '"./persona.txt"',
        "variants__composed__set__assistant__answer_style": '"compose"',
        "variants__composed__set__assistant__evidence_passages": 1,
        "generation__max_tokens": 4,
        "model__speculate": "false",  # steps are told one by one
        "rag__reranker": '"none"',
        "voice__model": f'"{fixture.as_posix()}"',
        "voice__language": '"en"',
        "voice__vad": '"webrtc"',
    }
    lines = [f"{name.replace('__', '.')} = {value}" for name, value in (given | values).items()]
    return "\n".join(lines) + "\n"


def _save(file: Path, text: str) -> float:
    """Move a new file into place; the moment after."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text)
    os.replace(beside, file)  # noqa: PTH105 -- what is measured begins with exactly this
    return time.perf_counter()


def _seconds(changes: Iterator[Callable[[], float]], seen: Callable[[int], bool]) -> dict[str, float]:
    """Median and worst time from each change until `seen` says so."""
    times = []
    for number, change in enumerate(changes):
        saved = change()
        while not seen(number):
            if time.perf_counter() > saved + _LIMIT_SECONDS:
                raise TimeoutError(f"change {number} took no effect")
        times.append(time.perf_counter() - saved)
        time.sleep(0.05)
    return {"median": round(statistics.median(times), 3), "worst": round(max(times), 3)}


def _plain(assistant: Assistant, file: Path, small: dict[str, str]) -> dict[str, float]:
    """Until the end of the first search whose fused scores are those of the new weight."""
    alphas = [0.0, 1.0]
    expected = []
    for alpha in alphas:
        assistant.update({"rag.alpha": alpha})
        expected.append(_scores(assistant))
    assistant.revert()
    if expected[0] == expected[1]:
        raise AssertionError("the weight of the dense score shows in no score")
    texts = [_settings(rag__alpha=alpha, **small) for alpha in alphas]
    changes = (lambda number=number: _save(file, texts[number % 2]) for number in range(TIMES))
    return _seconds(changes, lambda number: _scores(assistant) == expected[number % 2])


def _scores(assistant: Assistant) -> list[float]:
    return [passage.scores.fused for passage in assistant.search(_QUESTION).passages]


def _prompt_file(assistant: Assistant, file: Path) -> dict[str, float]:
    """Until the end of the first composed answer whose prompt has as many tokens as the new text asks for.

    The tiny model takes letters for tokens and answers quickly.
    """
    texts = ["The warden.", "The warden of the station."]
    before = _prompt_tokens(assistant)
    expected = [before, before + len(texts[1]) - len(texts[0])]
    changes = (lambda number=number: _save(file, texts[(number + 1) % 2]) for number in range(TIMES))
    return _seconds(changes, lambda number: _prompt_tokens(assistant) == expected[(number + 1) % 2])


def _prompt_tokens(assistant: Assistant) -> int:
    return assistant.ask(_QUESTION, variant="composed").usage.prompt_tokens


def _voice(assistant: Assistant, file: Path, small: dict[str, str]) -> dict[str, float]:
    """Until a stream that listens to silence has taken the new value; it ends the next turn by it."""
    taken: list[float] = []
    adopt = TranscriptionStream.adopt

    def noted(stream, settings, **options):
        adopt(stream, settings, **options)
        taken.append(settings.endpoint_seconds)

    over = threading.Event()
    listening = threading.Thread(target=lambda: asyncio.run(_listen(assistant, over)))
    with patch.object(TranscriptionStream, "adopt", noted):
        listening.start()
        time.sleep(1.0)
        values = [round(0.5 + 0.01 * number, 2) for number in range(TIMES)]
        texts = [_settings(voice__endpoint_seconds=value, **small) for value in values]
        changes = (lambda text=text: _save(file, text) for text in texts)

        def seen(number: int) -> bool:
            time.sleep(0.002)
            return values[number] in taken

        times = _seconds(changes, seen)
        over.set()
        listening.join()
    return times


async def _listen(assistant: Assistant, over: threading.Event) -> None:
    async for _ in assistant.converse(Silence(over), paced=True):
        pass


class Silence:
    """A source of silence, until ``over``."""

    audio_format = AudioFormat()

    def __init__(self, over: threading.Event) -> None:
        self._over = over

    def blocks(self) -> Iterator[np.ndarray]:
        while not self._over.is_set():
            yield np.zeros((1600, 1), np.float32)

    def close(self) -> None:
        """Nothing to let go of."""


def _swaps(assistant: Assistant, file: Path, small: dict[str, str]) -> dict[str, object]:
    """Steps of one generation of the bundled model while the setting names another and comes back, and without.

    As in `chat` and `talk`, collections of garbage leave out what was loaded before.
    """
    swaps = {
        "context_tokens": (_settings(model__context_tokens=4096), _settings(model__context_tokens=2048)),
        "to a small one": (_settings(**small), _settings()),
        "to a twin and back": (_settings(model__path=f'"{_twin(file.parent).as_posix()}"'), _settings()),
    }
    _save(file, _settings())
    _until(lambda: assistant.settings.model.path == "default" and "SmolLM2" in _model(assistant).name)
    model = _model(assistant)
    leave_out_what_is_loaded()
    report: dict[str, object] = {}
    for name, texts in swaps.items():
        for again in (True, False):  # the first time steps may have to be compiled
            with _full_collections() as collections:
                calm, swapping, seconds = _steps(assistant, model, file, texts)
            usual = statistics.median(calm)
            report[f"{name}{'' if again else ', again'}"] = {
                "swaps": len(texts),
                "seconds each": [round(one, 2) for one in seconds],
                "median step ms": round(1000 * usual, 1),
                "longest without": round(max(calm) / usual, 2),
                "median during": round(statistics.median(swapping) / usual, 2),
                "longest during": round(max(swapping) / usual, 2),
                "steps during": len(swapping),
                "over 2 during": sum(step > 2 * usual for step in swapping),
                "over 2 without": sum(step > 2 * usual for step in calm),
                "full collections of garbage, in steps": [round(one / usual, 2) for one in collections],
            }
    return report


def _steps(
    assistant: Assistant, model: LanguageModel, file: Path, texts: tuple[str, ...]
) -> tuple[list[float], list[float], list[float]]:
    """Seconds between tokens, without and during the swaps, and how long each swap took from its save on."""
    calm: list[float] = []
    swapping: list[float] = []
    busy, over = threading.Event(), threading.Event()

    def generate() -> None:
        while not over.is_set():
            last = None
            for _ in model.stream(_PROMPT, Sampling(max_tokens=400)):
                now = time.perf_counter()
                if last is not None:
                    (swapping if busy.is_set() else calm).append(now - last)
                last = now
                if over.is_set():
                    break

    seconds = []
    with _started(generate):
        time.sleep(_CALM_SECONDS)
        for text in texts:
            before = assistant.generation
            busy.set()
            saved = _save(file, text)
            _until(lambda before=before: assistant.generation > before)
            seconds.append(time.perf_counter() - saved)
            busy.clear()
            time.sleep(_CALM_SECONDS)
        over.set()
    return calm, swapping, seconds


@contextlib.contextmanager
def _full_collections() -> Iterator[list[float]]:
    """Seconds of each of Python's collections of all objects, which hold up every thread whatever caused them."""
    took: list[float] = []
    began = 0.0

    def note(phase: str, about: dict[str, int]) -> None:
        nonlocal began
        if about["generation"] == 2:
            if phase == "start":
                began = time.perf_counter()
            else:
                took.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    try:
        yield took
    finally:
        gc.callbacks.remove(note)


@contextlib.contextmanager
def _started(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _twin(folder: Path) -> Path:
    """The bundled model in another file."""
    from capibara.model.locate import locate

    twin = folder / "twin.gguf"
    shutil.copyfile(locate("default"), twin)
    return twin


def _model(assistant: Assistant) -> LanguageModel:
    model = assistant.language_model()
    assert model is not None
    return model


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 4 * _LIMIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.01)
