"""Makes the reader's training examples: prompts as the assistant builds them, with what is to be answered.

Each question is shown with passages that our own search found for it: the gold one among them at any place, or taken
out together with every other passage that holds the answer's words, and then the answer is that it is not stated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...model.protocol import Message
from ..dataset import GivenPassage, Question
from ..errors import AssistantError
from ..reading import NOT_STATED, Reading, reader_messages
from ..scoring import holds, normalised
from .retrieved import Retrieved

Unfit = Literal["skip", "refuse"]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the examples' kinds, each of 1.

    ``counts``: weights of 1, 2, … passages in a prompt. ``missing``: the gold passage is taken out. ``in_order``: the
    passages stand as the search ranked them; otherwise in any order. ``nearest``: the wrong passages are the best
    ranked ones; otherwise any that were found. ``spoken``: the question is written as speech recognition writes it, in
    small letters without marks.
    """

    counts: tuple[float, ...] = (0.15, 0.1, 0.6, 0.15)
    missing: float = 0.25
    in_order: float = 0.5
    nearest: float = 0.7
    spoken: float = 0.08


@dataclass(frozen=True, slots=True)
class ReaderExample:
    """A chat, and what the reader is to answer."""

    messages: tuple[Message, ...]
    answer: str


@dataclass(slots=True)
class Tally:
    """What was made, and what could not be: answers that are not in their passage, by the question's id."""

    present: int = 0
    missing: int = 0
    unfit: list[str] = field(default_factory=list)


def reader_examples(
    passages: Sequence[GivenPassage],
    questions: Sequence[Question],
    retrieved: Retrieved,
    *,
    round_: int,
    seed: int,
    mixture: Mixture | None = None,
    unfit: Unfit = "skip",
    tally: Tally | None = None,
) -> Iterator[ReaderExample]:
    """One example for every one of ``questions``; deterministic in ``seed`` and ``round_``, which draw its passages.

    Raises:
        AssistantError: an answer is not in its passage and ``unfit`` is "refuse", or a passage does not exist.
    """
    texts = {passage.id: passage.text for passage in passages}
    normal = {passage.id: normalised(passage.text) for passage in passages}
    mixture = Mixture() if mixture is None else mixture
    tally = Tally() if tally is None else tally
    for question in questions:
        if question.passage_id not in texts:
            raise AssistantError(f"question {question.id!r} names passage {question.passage_id!r}, which is not there")
        if question.answers and question.answers[0] not in texts[question.passage_id]:
            if unfit == "refuse":
                raise AssistantError(f"question {question.id!r}: {question.answers[0]!r} is not in its passage")
            tally.unfit.append(question.id)
            continue
        wrong = [
            one
            for one in retrieved[question.id]
            if one != question.passage_id and not holds(normal[one], question.answers)
        ]
        draw = random.Random(f"{seed}:{round_}:{question.id}")
        example = _example(question, texts, retrieved[question.id], wrong, mixture, draw)
        if example.answer == NOT_STATED:
            tally.missing += 1
        else:
            tally.present += 1
        yield example


def _example(
    question: Question,
    texts: Mapping[str, str],
    found: Sequence[str],
    wrong: Sequence[str],
    mixture: Mixture,
    draw: random.Random,
) -> ReaderExample:
    """``wrong``: those of ``found`` that do not answer."""
    gold = question.passage_id
    missing = not question.answers or (draw.random() < mixture.missing and bool(wrong))
    (count,) = draw.choices(range(1, len(mixture.counts) + 1), mixture.counts)
    wanted = min(count if missing else count - 1, len(wrong))
    chosen = list(wrong[:wanted]) if draw.random() < mixture.nearest else draw.sample(wrong, wanted)
    shown = chosen if missing else [gold, *chosen]
    if draw.random() < mixture.in_order:
        rank = {one: place for place, one in enumerate(found)}
        shown.sort(key=lambda one: rank.get(one, len(found)))
    else:
        draw.shuffle(shown)
    asked = question.question.strip()
    if draw.random() < mixture.spoken:
        asked = asked.rstrip("?").lower()
    answer = NOT_STATED if missing else str(Reading(question.answers[0], shown.index(gold) + 1))
    return ReaderExample(tuple(reader_messages(asked, [texts[one] for one in shown])), answer)
