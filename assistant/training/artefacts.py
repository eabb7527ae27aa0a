"""What is written beside trained weights: the model card, the loss curve, and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...model.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from ...model.checksums import CHECKSUM_FILE
from ...model.training.curve import write_curve
from ...model.training.progress import TrainingResult

CARD_FILE = "README.md"
CURVE_FILE = "curve.png"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an adapter comes from, in the words of whoever trained it. ``command`` made it."""

    data: str
    licence: str
    command: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a reader of the model card wants to know. ``facts`` are named numbers: sizes, options, figures."""

    title: str
    purpose: str
    base: str
    origin: Origin
    facts: Mapping[str, object]
    result: TrainingResult


def write_artefacts(folder: Path, card: Card) -> None:
    """Write card, curve and checksums into ``folder``, where the adapter lies.

    Raises:
        PlottingUnavailable: matplotlib is missing.
        OSError: a file cannot be written.
    """
    write_curve(folder / CURVE_FILE, card.result.history, card.result.evaluations, title=card.title)
    (folder / CARD_FILE).write_text(_card(card), encoding="utf-8")
    sums = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in (CONFIG_FILE, WEIGHTS_FILE)
    ]
    (folder / CHECKSUM_FILE).write_text("\n".join(sums) + "\n", encoding="utf-8")


def _card(card: Card) -> str:
    facts = "\n".join(f"| {name} | {_shown(value)} |" for name, value in card.facts.items())
    names = sorted({name for evaluation in card.result.evaluations for name in evaluation.figures})
    header = " | ".join(("update", *names))
    rows = "\n".join(
        f"| {one.step} | " + " | ".join(_shown(one.figures.get(name, float("nan"))) for name in names) + " |"
        for one in card.result.evaluations
    )
    return f"""# {card.title}

{card.purpose}

- Base: {card.base}
- Trained on: {card.origin.data}
- Licence of the data: {card.origin.licence}
- Made by: `{card.origin.command}`

| | |
| --- | --- |
{facts}

Held-out questions, whose passages were not trained on; the weights kept are those after update {card.result.best_step}
of {card.result.step}:

| {header} |
|{" --- |" * (len(names) + 1)}
{rows}

![Loss]({CURVE_FILE})
"""


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
