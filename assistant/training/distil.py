"""Makes a data set of answers on which several teachers agree, for training a smaller reader than they are.

Teachers are language models, or one at several temperatures or with an adapter; each reads the passages that our own
search found for a question. Critics score what they say, and `consensus` decides: see there for what it is built on,
and for what speaks against it. The answers alone are learnt from here; teachers' distributions need one tokenizer for
all, and `DistillationObjective`.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.schema import Settings
from ...model.protocol import LanguageModel, Message, Sampling
from ...model.training.consensus import TeacherAnswer, consensus
from ...rag.values import Chunk, Document, Passage, StageScores
from ..dataset import (
    PASSAGES,
    QUESTIONS,
    GivenPassage,
    Progress,
    Question,
    WorkStopped,
    read_passages,
    read_questions,
)
from ..errors import AssistantError
from ..grounding import ground
from ..reading import NOT_STATED, Reading, parse_reading, reader_messages
from ..scoring import normalised, token_f1, without_markers
from .retrieved import RETRIEVED, Retrieved, retrieved, write_retrieved


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model, how it decodes, and the adapter it answers with; None: the model as it is."""

    model: LanguageModel
    sampling: Sampling
    adapter: str | None = None

    def has_room_for(self, messages: Sequence[Message]) -> bool:
        """The context holds ``messages`` and the longest answer."""
        prompt = len(self.model.encode(self.model.render(messages)))
        return prompt + self.sampling.max_tokens <= self.model.context_tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """What a teacher said, without a marker, in the spelling of ``passage``, the id of one that holds it (None: none).

    ``cited``: the teacher named that passage itself.
    """

    text: str
    passage: str | None = None
    cited: bool = False

    @property
    def abstains(self) -> bool:
        """It says that no passage holds an answer."""
        return self.text == NOT_STATED


Critic = Callable[[str, Reply, Sequence[GivenPassage]], float]
"""Scores a reply to a question, in [0, 1], given the passages that were shown."""


def in_its_passage(_question: str, reply: Reply, _shown: Sequence[GivenPassage]) -> float:
    """The default critic: 1 where the passage that the teacher names holds the phrase, ½ where another one does.

    That nothing is stated cannot be looked up: such a reply gets 1, and agreement decides.
    """
    if reply.abstains or reply.cited:
        return 1.0
    return 0.5 if reply.passage is not None else 0.0


@dataclass(frozen=True, slots=True)
class DistilPlan:
    """How answers are made. ``passages`` are shown for each question; ``limit`` draws so many questions.

    ``least_agreement`` is the least share of the teachers' weight that an answer must have (`ConsensusTarget.weight`).
    """

    least_agreement: float = 0.5
    passages: int = 3
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.least_agreement <= 1.0:
            raise AssistantError(f"least agreement is {self.least_agreement}, but must be between 0 and 1")
        if self.passages < 1:
            raise AssistantError(f"passages is {self.passages}, but must be >= 1")


@dataclass(frozen=True, slots=True)
class Distilled:
    """How many questions were asked, and what became of them.

    Attributes:
        kept: written, with those in ``not_stated``, on which teachers agree that no passage answers.
        undecided: left out, because no teacher's answer weighs anything.
        divided: left out, because the teachers' answer has less than the least agreement.
        unplaced: left out, because the answer stands in no passage to the letter.
        too_long: left out, because a teacher's context does not hold the prompt.
        cancelled: the work was stopped; what was asked before is written.
    """

    asked: int
    kept: int
    not_stated: int
    undecided: int
    divided: int
    unplaced: int
    too_long: int
    cancelled: bool


def distil(
    folder: Path,
    out: Path,
    settings: Settings,
    teachers: Sequence[Teacher],
    plan: DistilPlan | None = None,
    *,
    critics: Sequence[Critic] = (in_its_passage,),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Distilled:
    """Ask ``teachers`` the questions of the data set in ``folder``; ``out`` gets a data set with what they agree on.

    Answers of ``folder`` are not looked at. Those written name the passage from which they were taken, and have the
    consensus's ``weight``; what was retrieved comes along, so that training on ``out`` needs no index.

    Raises:
        AssistantError: the data set is malformed, there is no teacher, ``out`` holds a data set, or nothing is kept.
        ModelError: a teacher cannot answer.
    """
    plan, cancel, watched = plan or DistilPlan(), cancel or threading.Event(), progress or (lambda *_: None)
    if not teachers:
        raise AssistantError("there is no teacher to ask: name at least one")
    if (out / QUESTIONS).exists():
        raise AssistantError(f"{out} holds a data set already: delete it, or name another folder")
    passages, questions = read_passages(folder), _drawn(read_questions(folder), plan)
    texts = {passage.id: passage for passage in passages}
    for question in questions:
        if question.passage_id not in texts:
            raise AssistantError(f"question {question.id!r} names passage {question.passage_id!r}, which is not there")
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    try:
        found = retrieved(folder, passages, questions, settings, watched, cancel)
    except WorkStopped:
        return _distilled(counts, cancelled=True)
    for question in questions:
        shown = _shown(question, found[question.id], texts, plan.passages)
        made = _decided(question, shown, teachers, critics, plan.least_agreement, cancel)
        if cancel.is_set():
            break
        if isinstance(made, str):
            counts[made] += 1
        else:
            counts["kept"] += 1
            counts["not_stated"] += not made["answers"]
            rows.append(made)
        counts["asked"] += 1
        watched("asking the teachers", counts["asked"], len(questions))
    if rows:
        _write(folder, out, rows, found)
    elif not cancel.is_set():
        raise AssistantError(f"{folder}: no answer of the teachers can be kept ({_told(counts)}): ask better ones")
    return _distilled(counts, cancelled=cancel.is_set())


def _distilled(counts: Counter[str], *, cancelled: bool) -> Distilled:
    names = ("asked", "kept", "not_stated", "undecided", "divided", "unplaced", "too_long")
    return Distilled(*(counts[name] for name in names), cancelled=cancelled)


def understood(said: str, shown: Sequence[GivenPassage]) -> Reply:
    """What a teacher wrote, with or without the marker of its passage, held against the passages it was shown."""
    if normalised(without_markers(said)) == normalised(NOT_STATED):
        return Reply(NOT_STATED)
    reading = parse_reading(said) or Reading(said.strip(), 0)
    found = ground(reading, [_as_found(passage) for passage in shown], [])
    return Reply(found.phrase, found.passage.document.id, not found.moved) if found else Reply(reading.phrase)


def _decided(
    question: Question,
    shown: Sequence[GivenPassage],
    teachers: Sequence[Teacher],
    critics: Sequence[Critic],
    least: float,
    cancel: threading.Event,
) -> dict[str, Any] | str:
    """The question's row in the new data set, or the name in `Distilled` of why there is none."""
    messages = reader_messages(question.question.strip(), [passage.text for passage in shown])
    if not all(teacher.has_room_for(messages) for teacher in teachers):
        return "too_long"
    said = [one.model.generate(messages, one.sampling, cancel, adapter=one.adapter).text for one in teachers]
    replies = [understood(text, shown) for text in said]
    answers = [
        TeacherAnswer(reply.text, tuple(critic(question.question, reply, shown) for critic in critics))
        for reply in replies
    ]
    target = consensus(answers, lambda one, other: token_f1(one, [other]), normalised)
    if target is None:
        return "undecided"
    if target.weight < least:
        return "divided"
    row = {"id": question.id, "question": question.question, "weight": round(target.weight, 6)}
    reply = replies[target.teacher]
    if reply.abstains:
        return row | {"passage_id": question.passage_id, "answers": []}
    # Blanks are made one where a phrase is found; training wants the letters of the passage.
    if not any(passage.id == reply.passage and reply.text in passage.text for passage in shown):
        return "unplaced"
    return row | {"passage_id": reply.passage, "answers": [reply.text]}


def _drawn(questions: Sequence[Question], plan: DistilPlan) -> Sequence[Question]:
    if plan.limit is None or plan.limit >= len(questions):
        return questions
    return random.Random(plan.seed).sample(questions, plan.limit)


def _shown(
    question: Question, found: Sequence[str], texts: Mapping[str, GivenPassage], most: int
) -> list[GivenPassage]:
    """The best passages as they were ranked; the question's own one takes the last place where it is not among them."""
    best = list(found[:most])
    if question.passage_id not in best:
        best = [*best[: most - 1], question.passage_id]
    return [texts[one] for one in best]


def _as_found(passage: GivenPassage) -> Passage:
    """As the search would give it, in one piece."""
    chunk = Chunk(passage.id, passage.id, 0, passage.text, 0, len(passage.text))
    return Passage(chunk, Document(passage.id, "", passage.id, "", ""), StageScores())


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


def _write(folder: Path, out: Path, rows: Sequence[dict[str, Any]], found: Retrieved) -> None:
    """The questions come last: without them the folder is no data set."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / PASSAGES, out / PASSAGES)
    write_retrieved(out / RETRIEVED, {row["id"]: found[row["id"]] for row in rows})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    unfinished = out / f".{QUESTIONS}"
    unfinished.write_bytes(gzip.compress(lines.encode(), mtime=0))
    unfinished.replace(out / QUESTIONS)
