"""The settings files of the storm, saved over and over."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from reload_models import tiny_cross_encoder, tiny_language_model
from reload_witness import Expected, Witness

KINDS = ("alpha", "reranker", "model", "voice", "prompts")
REAL = "SmolLM2"
"""In the name of the bundled language model."""


class Saves:
    """The settings files, saved over and over: each time another kind of setting changes, and its number with it."""

    def __init__(self, folder: Path) -> None:
        self.witness = Witness()
        self._file, self._text = folder / "capibara.toml", folder / "persona.txt"
        self._number = self._text_number = 1
        self._values: dict[str, object] = {}
        fixture = Path(__file__).resolve().parents[1] / "tests" / "voice" / "fixture"
        tiny = [str(tiny_language_model(folder / f"tiny-{seed}", seed)) for seed in (1, 2)]
        encoder = str(tiny_cross_encoder(folder / "cross-encoder"))
        real = ("default", None), ("default", 4096), ("default", 2048), ("default", 3072)
        self._rerankers = ["late-interaction", "none", "late-interaction", encoder]
        self._speech = str(fixture / "model")
        self._next: dict[str, Iterator] = {
            "alpha": itertools.cycle([0.3, 0.5, 0.7]),
            "reranker": itertools.cycle(self._rerankers),
            "model": itertools.cycle([*real, (tiny[0], 8192), (tiny[1], 8192)]),
            "voice": itertools.cycle([("silero", 1), ("silero", 2), ("webrtc", 2), ("webrtc", 1)]),
        }
        for kind, values in self._next.items():
            self._values[kind] = next(values)
        _replace(self._text, "You are warden number 1.")

    def advance(self, kind: str) -> None:
        """Save what is next of ``kind``."""
        if kind == "prompts":
            self._text_number += 1
            self.witness.together.add((self._number, self._text_number))
            _replace(self._text, f"You are warden number {self._text_number}.")
            return
        self._number += 1
        self._values[kind] = next(self._next[kind])
        self.write()

    def calm(self, number: int) -> None:
        """Save the real language model, and the ``number``th of the rerankers, which take turns as in the storm."""
        while self._values["model"] != ("default", None):
            self._values["model"] = next(self._next["model"])
        self._values["reranker"] = self._rerankers[number % len(self._rerankers)]
        self._number += 1
        self.write()

    def write(self) -> None:
        """Save the TOML file."""
        (path, context), (vad, aggressiveness) = self._values["model"], self._values["voice"]
        alpha, reranker = self._values["alpha"], self._values["reranker"]
        name = REAL if path == "default" else Path(path).name
        self.witness.expected[self._number] = Expected(alpha, reranker, name, context)
        self.witness.together.add((self._number, self._text_number))
        limit = f"context_tokens = {context}" if context else ""
        _replace(
            self._file,
            f"""\
[model]
path = "{path}"
{limit}
[generation]
max_tokens = 16
seed = {self._number}
[rag]
rrf_k = {self._number}
alpha = {alpha}
reranker = "{reranker}"
[voice]
model = "{self._speech}"
language = "en"
vad = "{vad}"
aggressiveness = {aggressiveness}
[assistant]
persona = "./{self._text.name}"
[variants.composed.set]
assistant.answer_style = "compose"
assistant.evidence_passages = 1
""",
        )


def _replace(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text, "utf-8")
    os.replace(beside, file)  # noqa: PTH105 -- as editors do
