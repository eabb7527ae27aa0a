"""What a training run is given: questions to train on, questions held out, and what was retrieved for both."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...config.schema import Settings
from ..dataset import PASSAGES, QUESTIONS, GivenPassage, Progress, Question, read_passages, read_questions
from ..errors import AssistantError
from .overlap import shared_passages
from .retrieved import Retrieved, retrieved


@dataclass(frozen=True, slots=True)
class TrainingData:
    """``held_out`` shares no passage with ``training``; passages of its own are not retrieved for ``training`` either.

    ``digest`` names the files, the questions and what was retrieved for them. ``shared`` passages were left out because
    a data set that is measured on has them too: they are not among ``passages``.
    """

    passages: Sequence[GivenPassage]
    training: Sequence[Question]
    held_out: Sequence[Question]
    retrieved: Retrieved
    digest: str
    shared: int = 0

    @property
    def trained_on(self) -> Sequence[GivenPassage]:
        """The passages without those that answer the questions held out."""
        apart = {question.passage_id for question in self.held_out}
        return [passage for passage in self.passages if passage.id not in apart]


def training_data(
    folder: Path,
    settings: Settings,
    report: Progress,
    *,
    held_out: int,
    limit: int | None = None,
    seed: int = 0,
    apart_from: Sequence[Path] = (),
    cancel: threading.Event | None = None,
) -> TrainingData:
    """Read the data set in ``folder`` and split it by passages, about ``held_out`` questions apart.

    ``limit`` draws so many questions to train on. What the search finds is read or searched for: see `retrieved`.
    Passages that one of the data sets ``apart_from`` shares (`shared_passages`) are not trained on, nor are their
    questions.

    Raises:
        WorkStopped: ``cancel`` was set while passages were indexed or questions searched for.
        AssistantError: a file is missing, empty or malformed, a question names no passage, or too few are left.
    """
    passages, questions = read_passages(folder), read_questions(folder)
    known = {passage.id for passage in passages}
    for question in questions:
        if question.passage_id not in known:
            raise AssistantError(f"question {question.id!r} names passage {question.passage_id!r}, which is not there")
    shared = shared_passages(passages, [other for one in apart_from for other in read_passages(one)])
    questions = [question for question in questions if question.passage_id not in shared]
    if not questions:
        measured = " or ".join(map(str, apart_from))
        raise AssistantError(
            f"{folder}: every question's passage stands in {measured} too: give other data to train on, or name another"
            " to be measured on (--apart-from)"
        )
    draw = random.Random(seed)
    apart = _apart(questions, held_out, draw)
    training = [question for question in questions if question.passage_id not in apart]
    if limit is not None and limit < len(training):
        training = draw.sample(training, limit)
    if not training:
        raise AssistantError(
            f"{folder}: no question is left to train on once {held_out} are held out: give more, or hold out fewer"
            " (--held-out)"
        )
    kept = [question for question in questions if question.passage_id in apart]
    found = retrieved(folder, passages, [*training, *kept], settings, report, cancel)
    # Of the passages apart, those questions alone hear that are held out themselves.
    split = ((training, shared | apart), (kept, shared))
    taken = {
        question.id: [one for one in found[question.id] if one not in unwanted]
        for questions, unwanted in split
        for question in questions
    }
    unshared = [passage for passage in passages if passage.id not in shared]
    return TrainingData(unshared, training, kept, taken, _digest(folder, training, kept, taken), len(shared))


def nothing_made(folder: Path, which: Literal["to train on", "held out"], unfit: int) -> AssistantError:
    """What to raise where no example can be made of some questions; answers of ``unfit`` are not in their passage."""
    way_out = "correct the answers" if which == "to train on" else "hold out more or others (--held-out, --seed)"
    why = f"{unfit} answers are not in their passage"
    return AssistantError(f"{folder}: no example can be made of the questions {which}, {why}: {way_out}")


def _apart(questions: Sequence[Question], wanted: int, draw: random.Random) -> set[str]:
    """Passages, drawn at random, that together have ``wanted`` questions or just more."""
    counts: dict[str, int] = {}
    for question in questions:
        counts[question.passage_id] = counts.get(question.passage_id, 0) + 1
    order = sorted(counts)
    draw.shuffle(order)
    apart: set[str] = set()
    for passage in order:
        if wanted <= 0:
            break
        apart.add(passage)
        wanted -= counts[passage]
    return apart


def _digest(folder: Path, training: Sequence[Question], held_out: Sequence[Question], found: Retrieved) -> str:
    whole = hashlib.sha256()
    for questions in (training, held_out):
        whole.update(repr([(question.id, found[question.id]) for question in questions]).encode())
    for name in (PASSAGES, QUESTIONS):
        whole.update((folder / name).read_bytes())
    return whole.hexdigest()[:24]
